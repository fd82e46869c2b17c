"""llama.cpp's own planner, for the check of ours; in a process of its own, because it ends the process at a bad file.

    python -m tools.planner_oracle [RPC_HOST:PORT ...] < JOBS > RESULTS

Each line of JOBS is JSON: a path and the settings. Each line of RESULTS is a list of rows, the host first, each with
the bytes of weights, of KV cache and of compute buffers.
"""

import ctypes
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as api

_SITE = Path(llama_cpp.__file__).parents[1]
_OWN = Path(llama_cpp.__file__).parent / "lib"
_DATA = (
    "_Z29common_get_device_memory_dataPKcPK18llama_model_paramsPK20llama_context_paramsRSt6vectorIP19ggml_backend_device"
    "SaIS9_EERjSD_SD_14ggml_log_level"
)
_ERROR = 4


class _Vector(ctypes.Structure):
    """std::vector, as libstdc++ has it."""

    _fields_ = (("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("room", ctypes.c_void_p))


class _Row(ctypes.Structure):
    """One device; the last row is the host."""

    _fields_ = (
        ("total", ctypes.c_int64),
        ("free", ctypes.c_int64),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    )


class _Override(ctypes.Structure):
    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


@api.llama_log_callback
def _quiet(level: int, text: bytes, _data: object) -> None:
    if level >= _ERROR:
        sys.stderr.buffer.write(text)


def add_device(endpoint: str) -> None:
    """Add an RPC server's device."""
    ggml, rpc = ctypes.CDLL(str(_OWN / "libggml.so.0")), ctypes.CDLL(str(_OWN / "libggml-rpc.so.0"))
    rpc.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    rpc.ggml_backend_rpc_add_server.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_register(rpc.ggml_backend_rpc_add_server(endpoint.encode()))


def rows(common: Any, job: dict[str, Any]) -> Iterator[list[int]]:  # noqa: ANN401 - a ctypes library has no type
    """What llama.cpp would take: host first, then each device."""
    model, context = api.llama_model_default_params(), api.llama_context_default_params()
    model.load_mode, model.no_alloc = 0, True
    model.use_extra_bufts = job.get("repack", False)
    model.n_gpu_layers = job["gpu_layers"]
    overrides = _overrides(job["overrides"])
    model.tensor_buft_overrides = ctypes.addressof(overrides)
    context.n_ctx, context.n_outputs_max = job["context"], 1
    context.swa_full = False
    context.n_batch = context.n_ubatch = job["batch"]
    context.type_k = context.type_v = job["kv_type"]
    context.flash_attn_type = 1 if job["flash_attention"] else 0
    call = common[_DATA]
    call.restype = _Vector
    number, pointer = ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER
    call.argtypes = [ctypes.c_char_p, pointer(type(model)), pointer(type(context)), pointer(_Vector)]
    call.argtypes += [number, number, number, ctypes.c_int]
    devices, numbers = _Vector(), [ctypes.c_uint32() for _ in range(3)]
    found = call(job["path"].encode(), model, context, devices, *numbers, _ERROR)
    count = ((found.end or 0) - (found.begin or 0)) // ctypes.sizeof(_Row)
    table = [[row.model, row.context, row.compute] for row in (_Row * count).from_address(found.begin)]
    yield table[-1]
    yield from table[:-1]


def _overrides(patterns: list[str]) -> Any:  # noqa: ANN401 - an array of ctypes
    buffer = api._lib.ggml_backend_cpu_buffer_type  # noqa: SLF001 - there is no public way to it
    buffer.restype = ctypes.c_void_p
    array = (_Override * (len(patterns) + 1))()
    for place, pattern in zip(array, patterns, strict=False):
        place.pattern, place.buft = pattern.encode(), buffer()
    return array


def main(endpoints: list[str]) -> None:
    """Answer each line of the standard input."""
    # llama.cpp prints tables of its own to the standard output.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    api.llama_backend_init()
    api.llama_log_set(_quiet, ctypes.c_void_p(0))
    common = ctypes.CDLL(str(_SITE / "lib" / "libllama-common.so.0"))
    for endpoint in endpoints:
        add_device(endpoint)
    for line in sys.stdin:
        results.write(json.dumps(list(rows(common, json.loads(line)))) + "\n")
        results.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
