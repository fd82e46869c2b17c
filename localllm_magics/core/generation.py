"""One generation: its states, the one table that moves between them, and the sum of its events.

            ┌───────────────── pending ────────────────┐
            │                     │                    │
            ▼                     ▼                    ▼
         loading ──────────▶   reading  ────────▶ generating
            │                     │                    │
            └──────────┬──────────┴────────────────────┘
                       ▼
             done | stopped | failed

Each event names the state that it leads to; TRANSITIONS says from where. A
terminal state has no way out, so whatever arrives late cannot touch it. Engines
may skip states (a loaded model does not load, a server does not report its
prompt processing), but never go back.
"""

import enum
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

from localllm_magics.core.completion import Completion, ErrorRecord, FinishReason, ModelUsed, Stats, Versions
from localllm_magics.core.errors import IllegalTransition, LocalLLMError
from localllm_magics.core.events import Delta, Done, Event, Failed, Loading, Pending, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.request import Request
from localllm_magics.core.unopened_reasoning import part
from localllm_magics.core.version import __version__


class State(enum.Enum):
    """Where a generation stands."""

    PENDING = "pending"
    LOADING = "loading"
    READING = "reading"
    GENERATING = "generating"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


_ENDS = frozenset({State.DONE, State.STOPPED, State.FAILED})
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: _ENDS | {State.PENDING, State.LOADING, State.READING, State.GENERATING},
    State.LOADING: _ENDS | {State.LOADING, State.READING, State.GENERATING},
    State.READING: _ENDS | {State.READING, State.GENERATING},
    State.GENERATING: _ENDS | {State.GENERATING},
    State.DONE: frozenset(),
    State.STOPPED: frozenset(),
    State.FAILED: frozenset(),
}


_LEADS_TO: Mapping[type[Event], State] = {
    Pending: State.PENDING,
    Loading: State.LOADING,
    Reading: State.READING,
    TextDelta: State.GENERATING,
    ReasoningDelta: State.GENERATING,
    Failed: State.FAILED,
}


def target(event: Event) -> State:
    """The state that EVENT leads to."""
    return State(event.completion.state) if isinstance(event, Done) else _LEADS_TO[type(event)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a server counted and timed itself, in tokens and seconds; None is what it does not report.

    Args:
        timed_tokens: See `completion.Stats`.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    load_seconds: float | None = None
    prompt_seconds: float | None = None
    decode_seconds: float | None = None
    timed_tokens: int | None = None


class Generation:
    """State, text, counts and times of one generation: the only sum of its events.

    The stream feeds it. The engine sets what no event says: `model`, `sampling`, `engine_version`, `counts`, and adds
    sentences to `notices`.

    Args:
        request: What is asked.
        model: The model as far as it is known.
        notices: What the user should know about how it was asked, in sentences.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self,
        request: Request,
        model: ModelUsed,
        *,
        notices: Iterable[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.request = request
        self.model = model
        self.sampling = request.sampling
        self.engine_version = ""
        self.counts = Counts()
        self.notices = list(notices)
        self.state = State.PENDING
        self.loaded = 0.0
        self.reading = Reading(0, 0)
        self.tokens = 0
        self.is_estimated = False
        self.completion: Completion | None = None
        self.error: LocalLLMError | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._clock = clock
        # The bounds of load, prefill and decode. Prefill ends with its last token, decode with the last one counted.
        self._start = self._entered = self._loaded_at = self._fed = clock()
        self._prefill_start: float | None = None
        self._prefill_end: float | None = None
        self._first: float | None = None
        self._last: float | None = None
        self._untimed_tokens = 0

    def __repr__(self) -> str:
        return f"<Generation {self.id} {self.state.value}, {self.tokens} tokens>"

    @property
    def id(self) -> str:
        """Names the request, its card and its completion."""
        return self.request.id

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def seconds_in_state(self) -> float:
        """How long it has been in its state."""
        return self._clock() - self._entered

    @property
    def quiet_seconds(self) -> float:
        """How long no event has come."""
        return self._clock() - self._fed

    @property
    def ttft_seconds(self) -> float | None:
        """From the start to the first token, with loading; None before."""
        return None if self._first is None else self._first - self._start

    @property
    def prefill_seconds(self) -> float:
        """How long the prompt has been processed, or took."""
        if self._prefill_start is None:
            return 0.0
        return (self._clock() if self._prefill_end is None else self._prefill_end) - self._prefill_start

    @property
    def decode_seconds(self) -> float:
        """How long tokens have been decoded, or took."""
        if self._prefill_end is None:
            return 0.0
        return (self._clock() if self.completion is None else self._last or self._prefill_end) - self._prefill_end

    @property
    def timed_tokens(self) -> int:
        """The tokens decoded within `decode_seconds`: without the first ones, where it starts with their arrival."""
        return self.tokens - self._untimed_tokens

    def feed(self, event: Event) -> None:
        """Add EVENT.

        Raises:
            IllegalTransition: The state does not allow it; nothing has changed.
        """
        state = target(event)
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"Generation {self.id} cannot go from {self.state.value} to {state.value}.")
        now = self._fed = self._clock()
        self._add(event, now)
        if state is not self.state:
            # Last: whoever sees a terminal state from another thread finds the completion there.
            self._entered, self.state = now, state

    def to_completion(self, reason: FinishReason, error: LocalLLMError | None = None) -> Completion:
        """The completion that ends here for REASON."""
        text, reasoning = self.text, self.reasoning
        is_json = self.request.schema is not None and _parsed(text) is not None
        if not (reasoning.strip() or self.request.raw or is_json):
            reasoning, text = part(text)
        if reason == "length":
            text = text.rstrip("\ufffd")  # a server's piece of a character that the limit cut
        return Completion(
            id=self.id,
            text=text,
            value=_parsed(text) if self.request.schema is not None and reason == "stop" else None,
            reasoning=reasoning if reasoning.strip() else None,
            finish_reason=reason,
            model=self.model,
            versions=Versions(localllm_magics=__version__, engine=self.engine_version),
            stats=self._stats(),
            sampling=self.sampling,
            error=None if error is None else ErrorRecord(kind=error.kind, message=error.message, hint=error.hint),
            notices=tuple(dict.fromkeys([*self.notices, *self._ignored_think(text, reasoning)])),
        )

    def _ignored_think(self, text: str, reasoning: str) -> list[str]:
        """What to say where the model did not reason as it was asked to; no server refuses all that it ignores."""
        has_reasoned, told = bool(reasoning.strip()), any("--think" in notice for notice in self.notices)
        if self.request.think is False and has_reasoned:
            return ["The model reasoned all the same: it, or its server, has no switch that --no-think could use."]
        if self.request.think and text and not has_reasoned and not told:
            return ["No reasoning came with --think: the model has none, or its server keeps it."]
        return []

    def _stats(self) -> Stats:
        """The sum of the events, and in its place what a server reports."""
        counts = self.counts
        stats = Stats(
            prompt_tokens=self.reading.total,
            cached_tokens=self.reading.cached,
            completion_tokens=self.tokens,
            load_seconds=self._loaded_at - self._start,
            ttft_seconds=self.ttft_seconds or 0.0,
            prompt_seconds=_between(self._prefill_start, self._prefill_end),
            decode_seconds=_between(self._prefill_end, self._last),
            total_seconds=self._clock() - self._start,
            estimated=self.is_estimated and counts.completion_tokens is None,
            timed_tokens=self.timed_tokens if self._untimed_tokens and counts.decode_seconds is None else None,
        )
        return replace(stats, **{name: value for name, value in asdict(counts).items() if value is not None})

    def _add(self, event: Event, now: float) -> None:
        match event:
            case Pending():
                pass
            case Loading(fraction):
                self.loaded, self._loaded_at = fraction, now
            case Reading():
                self._read(event, now)
            case TextDelta():
                self._text.append(event.text)
                self._count(event, now)
            case ReasoningDelta():
                self._reasoning.append(event.text)
                self._count(event, now)
            case Done(completion):
                self._end(completion)
            case Failed(error, completion):
                self.error = error
                self._end(completion)
            case _:
                _assert_never(event)

    def _end(self, completion: Completion) -> None:
        self.completion = completion
        self._text, self._reasoning = [completion.text], [completion.reasoning or ""]

    def _read(self, reading: Reading, now: float) -> None:
        self.reading = reading
        if self._prefill_start is None:
            self._prefill_start = now
        if self._prefill_end is None and 0 < reading.total <= reading.done:
            self._prefill_end = now

    def _count(self, delta: Delta, now: float) -> None:
        if self._prefill_start is None:
            self._prefill_start = self._loaded_at
        if self._prefill_end is None:
            self._prefill_end, self._untimed_tokens = now, delta.tokens
        if self._first is None:
            self._first = now
        if delta.tokens:
            self._last = now
        self.tokens += delta.tokens
        self.is_estimated |= delta.estimated


def _assert_never(value: NoReturn) -> NoReturn:
    """`typing.assert_never`, which Python 3.10 lacks: the type checker finds an event without a case."""
    raise AssertionError(f"{value!r} was not expected here")


def _between(start: float | None, end: float | None) -> float:
    return 0.0 if start is None or end is None else end - start


def _parsed(text: str) -> object:
    """The JSON in TEXT, or None; a server may not know of schemas."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
