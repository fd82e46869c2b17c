"""The steps of a generation; every engine yields the same kinds."""

from dataclasses import dataclass
from typing import TypeAlias

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import LocalLLMError


@dataclass(frozen=True, slots=True)
class Pending:
    """The engine has the request but has not begun."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded; FRACTION goes from 0 to 1, and stays 0 where it is not known."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Prompt processing (prefill): DONE of TOTAL tokens, CACHED of them from a cache; 0 of 0 where it is not known."""

    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer, made of TOKENS tokens, or of about so many."""

    text: str
    tokens: int = 1
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More text of the reasoning before the answer, made of TOKENS tokens, or of about so many."""

    text: str
    tokens: int = 1
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The generation ended by itself, by a limit, or because somebody stopped it."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class Failed:
    """The generation broke off; COMPLETION has the text so far."""

    error: LocalLLMError
    completion: Completion


Delta: TypeAlias = TextDelta | ReasoningDelta
ProgressEvent: TypeAlias = Loading | Reading | Delta
"""What an engine yields."""
Terminal: TypeAlias = Done | Failed
Event: TypeAlias = Pending | ProgressEvent | Terminal
