"""Tries the installed llama.cpp on a model: `python trial.py MODEL.gguf`, in a process of its own.

Some builds crash on the first batch of two or more tokens, so that is what it does. Prints what
was built and how it did; a build without RPC, or one that computes nonsense, is refused.
"""

import ctypes
import math
import sys
import time

import llama_cpp

BATCH = 32
SINGLES = 4


def describe() -> list[str]:
    """The instruction sets and devices of this build."""
    # Through the handle that llama_cpp holds: opening libggml.so again would load a second one.
    ggml = llama_cpp.llama_cpp._lib  # noqa: SLF001  # there is no public way to it
    ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    if ggml.ggml_backend_reg_by_name(b"RPC") is None:
        raise SystemExit("This build has no RPC device: it was not compiled with -DGGML_RPC=ON.")
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_name.restype = ctypes.c_char_p
    devices = [
        ggml.ggml_backend_dev_name(ctypes.c_void_p(ggml.ggml_backend_dev_get(ctypes.c_size_t(i))))
        for i in range(ggml.ggml_backend_dev_count())
    ]
    info = llama_cpp.llama_print_system_info().decode().removeprefix("CPU :")
    features = [item.partition("=")[0].strip() for item in info.split("|") if "= 1" in item]
    return [
        f"llama.cpp has {', '.join(features)}",
        f"devices: {', '.join(name.decode() for name in devices)}; RPC can add others",
    ]


def decode(path: str) -> str:
    """Read a batch of tokens and a few single ones with the model at PATH."""
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if model is None:
        raise SystemExit(f"llama.cpp cannot load {path}.")
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    started = time.perf_counter()
    for count in [BATCH] + [1] * SINGLES:
        tokens = (ctypes.c_int32 * count)(*range(10, 10 + count))
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count)) != 0:
            raise SystemExit(f"llama.cpp could not decode {count} tokens.")
        if not math.isfinite(llama_cpp.llama_get_logits(context)[0]):
            raise SystemExit(f"llama.cpp computed nonsense for {count} tokens.")
    return f"decoded {BATCH} + {SINGLES} tokens in {(time.perf_counter() - started) * 1000:.0f} ms"


def main() -> None:
    """Describe the build, then try it."""
    llama_cpp.llama_backend_init()
    print("\n".join([*describe(), decode(sys.argv[1])]))


if __name__ == "__main__":
    main()
