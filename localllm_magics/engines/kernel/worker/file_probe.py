"""Tries a file that was not seen before, in a process that may die.

On some malformed files llama.cpp ends the process, while it loads them or with their first token. What survived
here is remembered by file, build and CPU, and not tried again.
"""

import re
import sys
from pathlib import Path

from localllm_magics import demo
from localllm_magics.core.errors import EngineCrashed
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine import usual_threads
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.kernel.worker.build_probe import Exit, key_of, no_core_dump, remember, run_apart, verdicts

_CONTEXT = 64
_TEXT = "Why?\n\n  1 + 2 = 3; caf\xe9, \u65e5\u672c, \U0001f999\t\x01" + "".join(map(chr, range(33, 127)))
_BATCH = 4
_LONGEST_WORDS = 200
_KILLED = -9
_HINT = "Try another file of the model, or a newer llama.cpp: pip install --upgrade llama-cpp-python"
_MEMORY_HINT = "Perhaps memory ran out: close what needs much of it, or choose a smaller model: %llm models"


def require_survival(lib: Library, info: ModelInfo, options: LoadOptions, cache: Path, stop: Stop) -> None:
    """Try the file of INFO unless that was done before.

    A file that llama.cpp merely refuses is none of this function's business, nor is one that cannot be tried.

    Raises:
        EngineCrashed: llama.cpp died of it.
    """
    if info.path is None or info.path == demo.PATH or not sys.executable:
        return
    try:
        changed = info.path.stat().st_mtime_ns
    except OSError:
        return
    # LlamaModel on the CPU are mapped and not copied, so that they are in memory once, and read once.
    layers = 0 if options.gpu_layers in (None, "auto", 0) else -1
    key = key_of(lib, str(info.path.resolve()), info.size_bytes, changed, layers)
    if key in verdicts(cache):
        return
    ending = run_apart([sys.executable, "-m", __name__, str(info.path), str(layers)], stop)
    if ending is None or stop.is_set():
        return
    if ending.is_crash:
        raise _crash(info.reference, ending)
    if ending.is_good:
        remember(cache, key, verdict=True)


def _crash(reference: str, ending: Exit) -> EngineCrashed:
    words = _last_words(ending.output)
    return EngineCrashed(
        f"llama.cpp crashed when {reference} was tried in a process of its own{words and ': '}{words}.",
        _MEMORY_HINT if ending.code == _KILLED else _HINT,
    )


def _last_words(output: str) -> str:
    """The last line of OUTPUT, without the folders of the machine that built the library."""
    lines = [line for line in output.splitlines() if line.strip()]
    line = re.sub(r"^\S*[/\\]", "", lines[-1].strip()) if lines else ""
    return "".join(sign for sign in line if sign.isprintable())[:_LONGEST_WORDS]


def _try(path: Path, gpu_layers: int) -> None:
    """Read a text as a chat does, and choose and read a token."""
    lib = library()
    weights = LlamaModel(lib, path, gpu_layers=gpu_layers, repack=False, stop=Stop())
    if not weights.can_generate:
        return
    tokenizer = Tokenizer(lib, weights.pointer)
    tokens = tokenizer.tokens(_TEXT, add_special=True, parse_special=True)
    for token in tokens:
        tokenizer.piece(token)
    context = Context(lib, weights, size=_CONTEXT, threads=usual_threads(weights.size_bytes))
    for _ in context.read(tokens[:_BATCH]):
        pass
    with Sampler(lib, LLAMA_CPP_SAMPLING.seeded(), tokenizer.size) as sampler:
        context.take(sampler.sample(context.pointer))
    context.close()
    weights.close()


if __name__ == "__main__":
    no_core_dump()
    _try(Path(sys.argv[1]), int(sys.argv[2]))
