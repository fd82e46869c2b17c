"""Probes a file that was not seen before, in a subprocess.

On some malformed files llama.cpp ends the process, while it loads them or with their first token. That a file passed
is stored by file, build and CPU, and it is not probed again.
"""

import sys
from operator import attrgetter
from pathlib import Path

from localllm_magics import demo
from localllm_magics.core.errors import EngineCrashed, NotEnoughMemory
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.installing import upgrade_hint
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine import usual_threads
from localllm_magics.engines.kernel.machine_memory import free_memory
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults, key_of
from localllm_magics.engines.kernel.worker.process import (
    MEMORY_HINT,
    Exit,
    Limits,
    begin_worker,
    report,
    run_probe,
)

_TEXT = "Why?\n\n  1 + 2 = 3; caf\xe9, \u65e5\u672c, \U0001f999\t\x01" + "".join(map(chr, range(33, 127)))


def require_pass(
    lib: Library,
    info: ModelInfo,
    options: LoadOptions,
    results: ProbeResults,
    stop: Stop,
    *,
    python: str | None = sys.executable,
) -> None:
    """Probe the file of INFO unless that was done before.

    A file that llama.cpp refuses passes, for the load will report that, and so does one that cannot be probed.

    Args:
        lib: The build.
        info: The file.
        options: How it will be loaded.
        results: Those so far.
        stop: Ends the probe.
        python: The program that runs it; there is none where Python is part of another program.

    Raises:
        EngineCrashed: llama.cpp crashed.
        NotEnoughMemory: Memory ran out.
        Stopped: STOP was set.
    """
    if info.path is None or info.path == demo.PATH or not python:
        return
    try:
        changed = [path.stat().st_mtime_ns for path in (info.path, *map(attrgetter("path"), info.files))]
    except OSError:
        return
    # Weights on the CPU are mapped and not copied, so that they are in memory once, and read from the disk once.
    layers = 0 if options.gpu_layers in (None, "auto", 0) else -1
    path = info.path.resolve()
    key = key_of(lib, str(path), info.size_bytes, layers, *changed, subject=path)
    if results.get(key):
        return
    limits = Limits(memory_bytes=max(1 << 30, free_memory()))  # libraries need memory whatever the file is
    end = run_probe([python, "-m", __name__, str(info.path), str(layers)], stop, limits)
    if end is not None:
        _require_exit(info.reference, end)
        results.store(key, passed=True)


def _require_exit(reference: str, end: Exit) -> None:
    if not end.is_crash:
        return
    if end.ran_out_of_memory:
        raise NotEnoughMemory(f"Memory ran out when {reference} was probed in a subprocess.", MEMORY_HINT)
    raise EngineCrashed(
        f"llama.cpp crashed when {reference} was probed in a subprocess{end.reason and ': '}{end.reason}.",
        f"Try another file of the model, or a newer llama.cpp. {upgrade_hint()}",
    )


def _probe(path: Path, gpu_layers: int) -> None:
    """Read a text as a chat does, and sample and decode a token."""
    lib = library()
    settings = PlanSettings(context=64, gpu_layers=gpu_layers, repack=False, map_file=True)
    model = LlamaModel(lib, path, settings, stop=Stop())
    if not model.can_generate:
        return
    tokenizer = Tokenizer(lib, model.pointer)
    tokens = tokenizer.tokenize(_TEXT, add_special=True, parse_special=True)
    for token in tokens:
        tokenizer.token_to_piece(token)
    context = Context(lib, model, size=settings.context, threads=usual_threads(model.size_bytes))
    for _ in context.prefill(tokens[:4]):
        pass
    with Sampler(lib, LLAMA_CPP_SAMPLING.seeded(), tokenizer.size) as sampler:
        context.decode(sampler.sample(context.pointer))
    context.close()
    model.close()


if __name__ == "__main__":
    begin_worker()
    _probe(Path(sys.argv[1]), int(sys.argv[2]))
    report(event="passed")
