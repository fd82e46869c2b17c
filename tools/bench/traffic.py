"""What a cell sends to the front end while it streams."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from tools.bench.ask import Ask
from tools.bench.cell import CellContender, source
from tools.bench.kernel import Cell
from tools.bench.result import Row, Section, at_most
from tools.bench.subject import Subject

_CONTEXT = 8192
_PER_BYTE, _PER_SECOND, _ONCE = 6, 4000, 20_000
_MESSAGES_PER_SECOND = 25


def traffic(subject: Subject, sizes: Sequence[int], say: Callable[[str], None]) -> Section:
    """Messages and bytes for answers of SIZES tokens, from one of the random models."""
    setup = replace(subject.setup, context=_CONTEXT)
    ask = subject.asks[0]
    rows: list[Row] = []
    with closing(CellContender(setup)) as contender:
        contender.ask(replace(ask, max_tokens=8))
        for tokens in sizes:
            say(f"traffic on {subject.name}: {tokens} tokens")
            asked: Ask = replace(ask, max_tokens=tokens)
            rows += _rows(tokens, contender.kernel.run(source(setup, asked)))
    return Section(
        title=f"IOPub traffic of a `%%llm` cell, {subject.name}",
        rows=tuple(rows),
        notes=("Budget: 6 bytes for each byte of text, 4 kB for each second, and 20 kB; 25 messages in any second.",),
    )


def _rows(tokens: int, cell: Cell) -> list[Row]:
    document, outputs = cell.document, cell.outputs
    seconds = document["stats"]["total_seconds"] - document["stats"]["load_seconds"]
    text = len(document["text"].encode())
    size = sum(message.bytes for message in outputs)
    budget = _PER_BYTE * text + _PER_SECOND * seconds + _ONCE
    busiest = busiest_second([message.sent for message in outputs])
    name = f"{tokens:,} tokens, {text:,} bytes of text, {seconds:.1f} s"
    made = document["stats"]["completion_tokens"]
    if made != tokens:
        name += f" (but {made:,} were made)"
    return [
        Row(measure=f"{name}: contents", unit="bytes", ours=size, target=at_most(size, budget, "bytes")),
        Row(measure=f"{tokens:,} tokens: all messages", unit="messages", ours=len(outputs)),
        Row(
            measure=f"{tokens:,} tokens: the busiest second",
            unit="messages",
            ours=busiest,
            target=at_most(busiest, _MESSAGES_PER_SECOND, "messages"),
        ),
    ]


def busiest_second(times: Sequence[float]) -> int:
    """The most of TIMES, in ascending order, that lie within one second."""
    first = most = 0
    for position, time in enumerate(times):
        while time - times[first] >= 1.0:
            first += 1
        most = max(most, position - first + 1)
    return most
