"""How long an interrupted cell takes to come to rest, in the prompt and in the answer."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from tools.bench.ask import Ask
from tools.bench.cell import CellContender, source
from tools.bench.kernel import Cell, Message
from tools.bench.result import Row, Section, at_most, percentile
from tools.bench.subject import Subject
from tools.bench.vocabulary import words

_LIMIT = 100  # milliseconds
_CONTEXT, _PROMPT = 8192, 6000
_BEGUN = " · generating · "
_EARLIEST, _LATEST = 0.2, 0.8  # seconds into the reading or the answer


def stopping(subject: Subject, stops: int, say: Callable[[str], None]) -> Section:
    """STOPS interrupts while the prompt is read, and as many while the answer is written, on a random model."""
    setup = replace(subject.setup, context=_CONTEXT)
    rows, notes = [], []
    with closing(CellContender(setup)) as contender:
        contender.ask(replace(subject.asks[0], max_tokens=4))
        for phase, ask, begun in (
            ("prompt", _long_prompt, _has_output),
            ("answer", lambda _: replace(subject.asks[0], max_tokens=4000), has_text),
        ):
            cells = []
            for number in range(stops):
                say(f"stopping in the {phase}: {number + 1} of {stops}")
                cells.append(contender.kernel.run(source(setup, ask(number)), stop_when=after_a_while(begun, number)))
            rows += _rows(phase, cells)
            missed = sum(not _was_stopped_in(phase, cell) for cell in cells)
            if missed:
                notes.append(f"{missed} of {stops} interrupts did not come in the {phase}.")
    return Section(title=f"Interrupt to idle, {subject.name}", rows=tuple(rows), notes=tuple(notes))


def _long_prompt(number: int) -> Ask:
    text = words(_PROMPT, seed=number)
    return Ask(text=text, prompt=text, seed=1, max_tokens=4)


def after_a_while(begun: Callable[[Sequence[Message]], bool], number: int) -> Callable[[Sequence[Message]], bool]:
    """Says yes some time, another one for each NUMBER, after BEGUN does."""
    delay = random.Random(number).uniform(_EARLIEST, _LATEST)  # noqa: S311 - no secret
    since: list[float] = []  # the moment when BEGUN was true first

    def is_time(messages: Sequence[Message]) -> bool:
        if not since and begun(messages):
            since.append(time.perf_counter())
        return any(time.perf_counter() - begin >= delay for begin in since)

    return is_time


def _has_output(messages: Sequence[Message]) -> bool:
    return any(message.is_output for message in messages)


def has_text(messages: Sequence[Message]) -> bool:
    """Whether the answer has begun, by the status below it."""
    return any(_BEGUN in message.content.get("data", {}).get("text/markdown", "") for message in messages)


def _was_stopped_in(phase: str, cell: Cell) -> bool:
    document = cell.document
    stopped_in = "answer" if document["stats"]["completion_tokens"] else "prompt"
    return stopped_in == phase and bool(document["finish_reason"] == "stopped")


def _rows(phase: str, cells: Sequence[Cell]) -> list[Row]:
    waits = [1000 * (cell.idle_at - cell.stopped_at) for cell in cells if _was_stopped_in(phase, cell)]
    if not waits:
        return []
    return [
        Row(
            measure=f"in the {phase}, {percent}th percentile of {len(waits)}",
            unit="ms",
            ours=percentile(waits, percent),
            target=at_most(percentile(waits, percent), _LIMIT, "ms"),
        )
        for percent in (50, 95)
    ]
