"""The states of a generation and the one table that moves between them.

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
may skip states (a loaded model does not load, a server does not tell of
reading), but never go back.
"""

import enum
from collections.abc import Mapping
from typing import TypeAlias

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import IllegalTransition, LocalLLMError
from localllm_magics.core.events import Done, Event, Failed, Loading, Pending, Reading, ReasoningDelta, TextDelta


class State(enum.Enum):
    """Where a generation stands."""

    PENDING = "pending"
    LOADING = "loading"
    READING = "reading"
    GENERATING = "generating"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow."""
        return not TRANSITIONS[self]


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
_Progress: TypeAlias = Pending | Loading | Reading | TextDelta | ReasoningDelta
_LEADS_TO: Mapping[type[_Progress], State] = {
    Pending: State.PENDING,
    Loading: State.LOADING,
    Reading: State.READING,
    TextDelta: State.GENERATING,
    ReasoningDelta: State.GENERATING,
}


def target(event: Event) -> State:
    """The state that EVENT leads to."""
    if isinstance(event, Done):
        return State.STOPPED if event.completion.finish_reason == "stopped" else State.DONE
    if isinstance(event, Failed):
        return State.FAILED
    return _LEADS_TO[type(event)]


class Generation:
    """One generation: its state, and the sum of its events.

    Args:
        id: The id of the request, the card and the completion.
    """

    def __init__(self, id: str) -> None:  # noqa: A002 - the field's name in the document
        self.id = id
        self.state = State.PENDING
        self.loaded = 0.0
        self.read = Reading(0, 0)
        self.tokens = 0
        self.is_estimated = False
        self.completion: Completion | None = None
        self.error: LocalLLMError | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []

    def __repr__(self) -> str:
        return f"<Generation {self.id} {self.state.value}, {self.tokens} tokens>"

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    def feed(self, event: Event) -> None:
        """Take EVENT.

        Raises:
            IllegalTransition: The state does not allow it; nothing has changed.
        """
        state = target(event)
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"Generation {self.id} cannot go from {self.state.value} to {state.value}.")
        self._add(event)
        # Last: whoever sees a terminal state from another thread finds the completion there.
        self.state = state

    def _add(self, event: Event) -> None:
        match event:
            case Loading(fraction):
                self.loaded = fraction
            case Reading():
                self.read = event
            case TextDelta(text, tokens, estimated):
                self._text.append(text)
                self._count(tokens, estimated=estimated)
            case ReasoningDelta(text, tokens, estimated):
                self._reasoning.append(text)
                self._count(tokens, estimated=estimated)
            case Done(completion):
                self.completion = completion
            case Failed(error, completion):
                self.error, self.completion = error, completion
            case _:
                assert isinstance(event, Pending)  # noqa: S101 - for the type checker: the cases are complete

    def _count(self, tokens: int, *, estimated: bool) -> None:
        self.tokens += tokens
        self.is_estimated |= estimated
