"""Takes down a generation as an engine makes it, and adds it up."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from localllm_magics.core.completion import Completion, ErrorRecord, FinishReason, ModelUsed, Stats, Versions
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Event, ReasoningDelta, TextDelta
from localllm_magics.core.request import Request
from localllm_magics.core.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a server counted and timed itself, in tokens and seconds; None is what it does not tell.

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


class Recorder:
    """Text, counts and times of one generation.

    Args:
        request: What was asked; its sampling goes into the completion.
        model: The model as far as it is known.
        engine_version: Name and version of what runs the model.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self,
        request: Request,
        model: ModelUsed,
        *,
        engine_version: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.request = request
        self.model = model
        self.engine_version = engine_version
        self.notices = list(request.notices)
        self.sampling = request.sampling
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.tokens = 0
        self.counts = Counts()
        self.estimated = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._clock = clock
        self._start = clock()
        self._loaded = self._read_from = self._read_to = self._first = self._last = self._start

    def loaded(self) -> None:
        """The model is in memory."""
        self._loaded = self._clock()

    def reading(self) -> None:
        """The first prompt token is about to be read."""
        self._read_from = self._read_to = self._first = self._last = self._clock()

    def read(self) -> None:
        """The last prompt token was read."""
        self._read_to = self._first = self._last = self._clock()

    def add(self, text: str, tokens: int) -> None:
        """TOKENS more tokens brought TEXT."""
        self._count(tokens)
        self._text.append(text)

    def think(self, text: str, tokens: int) -> None:
        """TOKENS more tokens brought TEXT of the reasoning."""
        self._count(tokens)
        self._reasoning.append(text)

    def take(self, event: Event) -> None:
        """Take down the text of EVENT as it comes; the first one ends the reading."""
        match event:
            case TextDelta(text, tokens):
                self._begin()
                self.add(text, tokens)
                self.end()
            case ReasoningDelta(text, tokens):
                self._begin()
                self.think(text, tokens)
                self.end()

    def end(self) -> None:
        """The last token was produced."""
        self._last = self._clock()

    def completion(self, reason: FinishReason, error: LocalLLMError | None = None) -> Completion:
        """The sum of it all."""
        text = "".join(self._text)
        return Completion(
            id=self.request.id,
            text=text,
            value=_parsed(text) if self.request.schema is not None and reason == "stop" else None,
            reasoning="".join(self._reasoning) or None,
            finish_reason=reason,
            model=self.model,
            versions=Versions(localllm_magics=__version__, engine=self.engine_version),
            stats=self._stats(),
            sampling=self.sampling,
            error=None if error is None else ErrorRecord(kind=error.kind, message=error.message, hint=error.hint),
            notices=tuple(self.notices),
        )

    def _begin(self) -> None:
        if not (self._text or self._reasoning):
            self.read()

    def _count(self, tokens: int) -> None:
        if not (self._text or self._reasoning):
            self._first = self._clock()
        self.tokens += tokens

    def _stats(self) -> Stats:
        own = Stats(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.tokens,
            load_seconds=self._loaded - self._start,
            ttft_seconds=self._first - self._start if self._text or self._reasoning else 0.0,
            prompt_seconds=self._read_to - self._read_from,
            decode_seconds=self._last - self._read_to,
            total_seconds=self._clock() - self._start,
            estimated=self.estimated,
        )
        told = {f.name: getattr(self.counts, f.name) for f in fields(Counts)}
        return replace(own, **{name: value for name, value in told.items() if value is not None})


def _parsed(text: str) -> object:
    """The JSON in TEXT, or None; a server may not know of schemas."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
