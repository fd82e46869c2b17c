"""How long the list of the models on a machine takes, headers unread and read before."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from localllm_magics.engines.sparse_gguf import Value, write_sparse
from tools.bench.result import Row, Section, at_most
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

_SHAPES = ("llama-1b", "llama-8b", "qwen2-0.5b", "qwen2-7b", "qwen3-4b", "mixtral-8x7b", "gemma2-9b", "gemma3-4b")
_TYPES = ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16")
_TOKENS = 32_000
_FAMILIES = 10
"""Vocabularies: of the models that one person keeps many are of one family."""
_COLD, _WARM = 2.0, 0.3  # seconds
_LISTING = """
import json, sys, time
import localllm_magics
times = []
for _ in range(2):
    start, cpu = time.perf_counter(), time.process_time()
    found = localllm_magics.models(source="folder")
    times.append([time.perf_counter() - start, time.process_time() - cpu])
print(json.dumps([times, len(found), sum(info.fit is not None for info in found)]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """Seconds of two lists in one process, the first by the CPU's time too."""

    first: float
    first_cpu: float
    second: float


def listing(files: int, rounds: int, say: Callable[[str], None]) -> Section:
    """`llm.models()` in new processes, with an empty cache and with what that has left."""
    with tempfile.TemporaryDirectory(prefix="localllm-bench-") as name:
        folder = Path(name) / "models"
        folder.mkdir()
        say(f"making {files:,} sparse files")
        for number, write in zip(range(files), _writers(), strict=False):
            write(folder / f"{number:05}.gguf")
        cold, warm = [], []
        for number in range(rounds):
            say(f"listing {files:,} files: round {number + 1} of {rounds}")
            cache = Path(name) / f"cache-{number}"
            cold.append(_listed(folder, cache, files))
            warm.append(_listed(folder, cache, files))
    rows = (
        ("no header read before, a new process", [times.first for times in cold], _COLD),
        ("its CPU time, whatever else runs", [times.first_cpu for times in cold], None),
        ("headers in the cache, a new process", [times.first for times in warm], _WARM),
        ("its CPU time, whatever else runs", [times.first_cpu for times in warm], None),
        ("again in the same process", [times.second for times in warm], _WARM),
    )
    return Section(
        title=f"`llm.models()` with {files:,} GGUF files, {rounds} rounds",
        rows=tuple(_row(measure, seconds, limit) for measure, seconds, limit in rows),
        notes=(
            f"{len(_SHAPES)} shapes in {len(_TYPES)} types, with {_FAMILIES} vocabularies of {_TOKENS:,} tokens.",
            "The weights are holes. Each model has its fit.",
        ),
    )


def _row(measure: str, seconds: list[float], limit: float | None) -> Row:
    median = statistics.median(seconds)
    return Row(measure=measure, unit="s", ours=median, target=None if limit is None else at_most(median, limit, "s"))


def _writers() -> Iterator[Callable[[Path], object]]:
    """One for each file: all combinations, again and again."""
    tokenizers = [_tokenizer(number) for number in range(_FAMILIES)]
    models = [to_model(replace(SHAPES[shape], type=kind)) for shape, kind in product(_SHAPES, _TYPES)]
    number = 0
    while True:
        model = replace(models[number % len(models)], tokenizer=tokenizers[number % _FAMILIES])
        name = {"general.name": f"Model {number}"}
        number += 1
        yield lambda path, model=model, name=name: write_sparse(  # type: ignore[misc] # bound here
            replace(model, metadata=dict(model.metadata) | name), path
        )


def _tokenizer(family: int) -> Mapping[str, Value]:
    chance = random.Random(family)  # noqa: S311 - the same words on every run are the point
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=max(1, int(chance.gauss(6, 3))))) for _ in range(_TOKENS)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.scores": [0.0] * _TOKENS,
        "tokenizer.ggml.token_type": [1] * _TOKENS,
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }


def _listed(folder: Path, cache: Path, files: int) -> _Times:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _LISTING], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    ((first, first_cpu), (second, _)), found, judged = json.loads(done.stdout)
    assert found == judged == files, f"{found} of {files} files listed, {judged} with a fit"
    return _Times(first=first, first_cpu=first_cpu, second=second)
