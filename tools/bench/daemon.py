"""Our client of servers against the least that reads the same bytes: how fast answers come, and how soon they begin."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from tools.bench import raw_socket
from tools.bench.ask import Contender, Setup
from tools.bench.cell import CellContender
from tools.bench.decode import Turn, play
from tools.bench.result import Row, Section, at_most, ratio_row
from tools.bench.served import cell_source
from tools.bench.server import LlamaServer
from tools.bench.subject import Subject
from tools.bench.worker import CURL, RAW_SOCKET, SERVED, Worker

_CELL = "cell"
_FIRST_TOKENS = 8
_MOST_ADDED = 5  # milliseconds
_NAMES = {SERVED: "`Model.stream`", CURL: "`curl -N`", _CELL: "`%%llm` cell"}


def daemon(subject: Subject, tokens: int, say: Callable[[str], None]) -> Section:
    """Answers of TOKENS tokens by SUBJECT in llama-server."""
    turns = _play(subject, (RAW_SOCKET, SERVED, _CELL), tokens, _with(say, f"server with {subject.name}"))
    seen = {name: [turn.rate for turn in turns[name]] for name in turns}
    told = {name: [_told(turn) for turn in turns[name]] for name in (RAW_SOCKET, SERVED)}
    whole = {name: [turn.whole_rate for turn in turns[name]] for name in turns}
    raw, ours = "a raw socket", _NAMES[SERVED]
    return Section(
        title=f"Reading from llama-server, {subject.name}: {tokens} tokens a round, {subject.rounds} rounds",
        rows=(
            ratio_row(
                f"first text to last, {ours} against {raw}",
                "tok/s",
                seen[SERVED],
                seen[RAW_SOCKET],
                subject.limits.served,
            ),
            ratio_row(f"by the server's clock, {ours} against {raw}", "tok/s", told[SERVED], told[RAW_SOCKET]),
            # The rate in a cell's document is the server's.
            ratio_row(f"by the server's clock, {_NAMES[_CELL]} against {raw}", "tok/s", seen[_CELL], told[RAW_SOCKET]),
            ratio_row(f"call to end, {ours} against {raw}", "tok/s", whole[SERVED], whole[RAW_SOCKET]),
            ratio_row(f"busy to idle, {_NAMES[_CELL]} against {raw}", "tok/s", whole[_CELL], whole[RAW_SOCKET]),
        ),
        notes=("One server and one request for all; the prompt is in its cache.", *_differences(turns)),
    )


def first_token(subjects: Sequence[Subject], say: Callable[[str], None]) -> Section:
    """From the call to the first text, the prompt being in the server's cache."""
    names = (RAW_SOCKET, SERVED, *([CURL] if raw_socket.CURL else []))
    rows, notes = [], set[str]()
    for subject in subjects:
        turns = _play(subject, names, _FIRST_TOKENS, _with(say, f"first token of {subject.name}"))
        rows += _first_rows(f"{subject.name}, median of {subject.rounds}", turns)
        notes.update(_differences(turns))
    return Section(
        title="First token from llama-server",
        rows=tuple(rows),
        notes=(
            "Each answer has a connection of its own; the clock starts before it is made.",
            "Behind the names: what ours added, the median over the rounds.",
            "curl's clock starts when it connects, so neither its start nor that of a process is counted.",
            *sorted(notes),
        ),
    )


def _play(subject: Subject, names: Sequence[str], tokens: int, say: Callable[[str], None]) -> dict[str, list[Turn]]:
    """Turns of the contenders called NAMES on one server with SUBJECT."""
    ask = replace(subject.asks[0], max_tokens=tokens)
    with ExitStack() as stack:
        say("starting")
        server = stack.enter_context(LlamaServer(subject.setup.path))
        setup = replace(subject.setup, reference=server.url)
        contenders = {name: stack.enter_context(closing(_contender(name, setup))) for name in names}
        return play(contenders, [ask], subject.rounds, say)


def _with(say: Callable[[str], None], start: str) -> Callable[[str], None]:
    return lambda text: say(f"{start}: {text}")


def _contender(name: str, setup: Setup) -> Contender:
    return CellContender(setup, cell_source) if name == _CELL else Worker(name, setup)


def _told(turn: Turn) -> float:
    """Tokens a second by the server's clock."""
    return sum(sample.steps for sample in turn.samples) / sum(sample.server_seconds or 0 for sample in turn.samples)


def _first_rows(name: str, turns: Mapping[str, Sequence[Turn]]) -> list[Row]:
    waits = {who: [1000 * turn.samples[0].prompt_seconds for turn in turns[who]] for who in turns}
    rows = []
    for peer in (who for who in waits if who != SERVED):
        added = statistics.median(mine - theirs for mine, theirs in zip(waits[SERVED], waits[peer], strict=True))
        words = "a raw socket" if peer == RAW_SOCKET else _NAMES[peer]
        rows.append(
            Row(
                measure=f"{name}: {_NAMES[SERVED]} against {words}, {added:+.2f} ms",
                unit="ms",
                ours=statistics.median(waits[SERVED]),
                peer=statistics.median(waits[peer]),
                target=at_most(added, _MOST_ADDED if peer == RAW_SOCKET else None, "ms more"),
            )
        )
    return rows


def _differences(turns: Mapping[str, Sequence[Turn]]) -> tuple[str, ...]:
    """Whose answers are not the raw socket's, in sentences."""
    answers = {
        name: [(sample.tokens, sample.text) for turn in turns[name] for sample in turn.samples] for name in turns
    }
    unlike = [_NAMES[name] for name, answer in answers.items() if answer != answers[RAW_SOCKET]]
    return (f"Answers unlike the raw socket's: {', '.join(unlike)}.",) if unlike else ()
