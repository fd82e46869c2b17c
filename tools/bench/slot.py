"""How long llama-server's slot stays busy after a stop, in the prompt and in the answer."""

import random
import re
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from localllm_magics.api import load
from localllm_magics.core.events import Event, Reading, TextDelta
from localllm_magics.model import Model
from tools.bench.ask import Ask, Setup
from tools.bench.cell import CellContender
from tools.bench.kernel import Message
from tools.bench.pieces import CONTENT
from tools.bench.raw_socket import READ_BYTES, post
from tools.bench.result import Row, Section, at_most, percentile
from tools.bench.served import body, cell_source, generation
from tools.bench.server import LlamaServer
from tools.bench.stopping import after_a_while, has_text
from tools.bench.subject import Subject
from tools.bench.vocabulary import words

_LIMIT = 150  # milliseconds
_BATCH = "32"
_PROMPT, _ANSWER = 1700, 1500  # tokens
_EARLIEST, _LATEST = 0.05, 0.4  # seconds into the reading or the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """Where stops come.

    Args:
        begun: The event with which it begins.
        seen: The bytes with which it begins.
    """

    name: str
    begun: type[Event]
    seen: re.Pattern[bytes]


_PROMPT_PHASE = _Phase(name="prompt", begun=Reading, seen=re.compile(rb'"prompt_progress"'))
_ANSWER_PHASE = _Phase(name="answer", begun=TextDelta, seen=CONTENT)


def slot(subject: Subject, stops: int, say: Callable[[str], None]) -> Section:
    """STOPS stops in each phase, a raw socket that is shut doing the same in turns; and interrupts of cells."""
    with LlamaServer(subject.setup.path, "-b", _BATCH, "-ub", _BATCH) as server:
        setup = replace(subject.setup, reference=server.url)
        stopping = _Stopping(setup, server, subject.asks[0])
        rows: list[Row] = []
        notes = []
        for phase in (_ANSWER_PHASE, _PROMPT_PHASE):
            say(f"stops of a server's answer, in the {phase.name}: {stops} times")
            found = [stopping.both(phase, number) for number in range(stops)]
            rows += _rows(phase, [one for one in found if one is not None])
            missed = found.count(None)
            notes += [f"{missed} of {stops} stops did not come in the {phase.name}."] if missed else []
        say("interrupts of a cell")
        rows += _cell_rows([*_interrupts(setup, server, subject.asks[0], max(stops // 3, 1))])
    return Section(
        title=f"Stop until llama-server's slot is free, {subject.name}",
        rows=tuple(rows),
        notes=(
            f"The server reads prompts in batches of {_BATCH} tokens here, and notices who has left between them only.",
            "With its default of 2048 it reads such a prompt to the end, whoever has left.",
            *notes,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waits:
    """Milliseconds from a stop: to the slot's rest, to our stream's end, and to the slot's rest for a raw socket."""

    free: float
    ended: float
    raw: float


class _Stopping:
    """Stops answers of the server that SETUP names."""

    def __init__(self, setup: Setup, server: LlamaServer, ask: Ask) -> None:
        self._url = setup.reference
        self._server = server
        self._model: Model = load(setup.reference)
        self._ask = ask

    def both(self, phase: _Phase, number: int) -> _Waits | None:
        """Ours and a raw socket; None if the answer was not in PHASE any more."""
        delay = random.Random(number).uniform(_EARLIEST, _LATEST)  # noqa: S311 - no secret
        ours = self._ours(phase, self._asked(phase, 2 * number), delay)
        raw = self._raw(phase, self._asked(phase, 2 * number + 1), delay)
        return None if ours is None else _Waits(free=ours[0], ended=ours[1], raw=raw)

    def _asked(self, phase: _Phase, number: int) -> Ask:
        """Another prompt each time where it is to be read, so that nothing of it is in the cache."""
        text = words(_PROMPT, seed=number) if phase is _PROMPT_PHASE else self._ask.text
        return replace(self._ask, text=text, max_tokens=_ANSWER)

    def _ours(self, phase: _Phase, ask: Ask, delay: float) -> tuple[float, float] | None:
        with self._model.start(generation(self._model, ask)) as stream, ThreadPoolExecutor(1) as pool:
            next((event for event in stream if isinstance(event, phase.begun)), None)
            time.sleep(delay)
            stopped = time.perf_counter()
            stream.stop()
            free = pool.submit(self._server.free_at)
            stream.wait()
            ended = time.perf_counter()
            completion = stream.completion()
            waits = 1000 * (free.result() - stopped), 1000 * (ended - stopped)
        stopped_in = _ANSWER_PHASE if completion.stats.completion_tokens else _PROMPT_PHASE
        return waits if stopped_in is phase and completion.finish_reason == "stopped" else None

    def _raw(self, phase: _Phase, ask: Ask, delay: float) -> float:
        with post(self._url, body(self._model, ask)) as connection:
            data = b""
            while not phase.seen.search(data):
                data += connection.recv(READ_BYTES)
            time.sleep(delay)
            stopped = time.perf_counter()
            connection.shutdown(socket.SHUT_RDWR)
            return 1000 * (self._server.free_at() - stopped)


def _interrupts(setup: Setup, server: LlamaServer, ask: Ask, count: int) -> Sequence[float]:
    """Milliseconds from COUNT interrupts of a kernel to the slot's rest."""
    waits = []
    with closing(CellContender(setup, cell_source)) as contender, ThreadPoolExecutor(1) as pool:
        contender.ask(replace(ask, max_tokens=4))
        for number in range(count):
            free: list[Future[float]] = []
            is_time = after_a_while(has_text, number)

            def stop_when(messages: Sequence[Message]) -> bool:
                if is_time(messages):  # noqa: B023 - called in this round only
                    free.append(pool.submit(server.free_at))  # noqa: B023 - the same
                return bool(free)  # noqa: B023 - the same

            cell = contender.kernel.run(cell_source(setup, replace(ask, max_tokens=_ANSWER)), stop_when=stop_when)
            waits.append(1000 * (free[0].result() - cell.stopped_at))
    return waits


def _rows(phase: _Phase, waits: Sequence[_Waits]) -> list[Row]:
    if not waits:
        return []
    free, ended = [wait.free for wait in waits], [wait.ended for wait in waits]
    raw = [wait.raw for wait in waits]
    name, tail = f"in the {phase.name}", f"95th percentile of {len(waits)}"
    limit = at_most(percentile(free, 95), _LIMIT, "ms")
    return [
        Row(
            measure=f"{name}, against a raw socket: median",
            unit="ms",
            ours=percentile(free, 50),
            peer=percentile(raw, 50),
        ),
        Row(measure=f"{name}: {tail}", unit="ms", ours=percentile(free, 95), peer=percentile(raw, 95), target=limit),
        Row(measure=f"{name}, until our stream has ended: {tail}", unit="ms", ours=percentile(ended, 95)),
    ]


def _cell_rows(waits: Sequence[float]) -> list[Row]:
    name = "a cell interrupted in the answer"
    return [
        Row(measure=f"{name}, {percent}th percentile of {len(waits)}", unit="ms", ours=percentile(waits, percent))
        for percent in (50, 95)
    ]
