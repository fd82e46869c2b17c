"""Whether the memory of a model comes back, however often it is loaded, asked and unloaded."""

from collections.abc import Callable, Sequence
from pathlib import Path

from localllm_magics.api import load
from localllm_magics.engines.kernel.machine import private_memory
from tools.bench.result import Row, Section, at_most
from tools.bench.subject import Subject

_SEEN = (1, 10, 50)  # cycles after which the memory is shown
_TOKENS = 8
_MOST_GROWTH = 4.0  # MB, from the first cycle to the last


def unload(subject: Subject, cycles: int, say: Callable[[str], None]) -> Section:
    """The process's own memory after cycles of load, answer and unload, which are the first ones of the process."""
    say(f"load, answer, unload: {cycles} times")
    loaded, held = 0.0, [_megabytes()]
    for _ in range(cycles):
        loaded = max(loaded, _cycle(subject.setup.path))
        held.append(_megabytes())
    seen = [cycle for cycle in _SEEN if cycle < cycles] + [cycles]
    rows = [
        Row(measure="before the first load", unit="MB", ours=held[0]),
        Row(measure="most while loaded", unit="MB", ours=loaded),
    ]
    return Section(title=f"Memory after unload, {subject.name}", rows=(*rows, *_rows(held, seen)))


def _rows(held: Sequence[float], seen: Sequence[int]) -> list[Row]:
    growth = max(held[2:]) - held[1]
    return [
        *(Row(measure=f"after cycle {cycle}", unit="MB", ours=held[cycle]) for cycle in seen),
        Row(
            measure="growth, from the first cycle to the highest after it",
            unit="MB",
            ours=growth,
            target=at_most(growth, _MOST_GROWTH, "MB"),
        ),
    ]


def _cycle(path: Path) -> float:
    """Megabytes while the model is in memory."""
    with load(path, ctx=1024) as model:
        model.complete("Tell me a story about a fox.", max_tokens=_TOKENS, seed=1)
        return _megabytes()


def _megabytes() -> float:
    return private_memory() / 1e6
