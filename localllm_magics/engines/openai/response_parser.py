"""Understands the answers of servers that speak as OpenAI does."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.engines.openai.arrival_rate import ArrivalRate
from localllm_magics.engines.openai.records import END
from localllm_magics.engines.reasoning_parser import ReasoningParser
from localllm_magics.engines.server.server_error import ErrorContext, broken_off
from localllm_magics.engines.wire.fields import Json, child, children, number, text, whole, word
from localllm_magics.engines.wire.ndjson import Record

_MILLISECONDS = 1e3
_REASONING = ("reasoning_content", "reasoning", "thinking")
_ERRORS = ("detail", "message", "msg")
_FILTERED = "The server's content filter cut the answer off."
_CALLS_TOOL = "The model wants to call a tool, and has none here."


class OpenAIResponseParser:
    """One answer; see `daemon.answer.Reading`.

    Args:
        asked: For the words of errors.
        is_raw: Whether the model continues plain text.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self, asked: ErrorContext, *, is_raw: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.reason: FinishReason | None = None
        self.is_complete = False
        self.model: str | None = None
        """The model that answers, as the server says."""
        self._asked = asked
        self._thinking = ReasoningParser(is_raw=is_raw)
        self._tempo = ArrivalRate(clock)
        self._counted = 0
        self._timings: Json = {}
        self._usage: Json = {}
        self._is_filtered = False
        self._calls_tool = False

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        """The events in RECORD."""
        self._tempo.look()
        if record is END:
            self.is_complete = True
            return self._thinking.end()
        self._refuse_error(record)
        self._take_counts(record)
        self.model = word(record, "model") or self.model
        progress, choice = child(record, "prompt_progress"), _choice(record)
        events: list[ProgressEvent] = [_to_reading(progress)] if progress else []
        return events if choice is None else [*events, *self._events(choice)]

    @property
    def notices(self) -> tuple[str, ...]:
        """What became of an answer that is not whole."""
        return (_FILTERED,) * self._is_filtered + (_CALLS_TOOL,) * self._calls_tool

    @property
    def counts(self) -> Counts:
        """Counts and times of the server; where it has no times, ours."""
        times = self._timings
        produced = whole(times, "predicted_n")
        if produced is not None:
            cached = whole(times, "cache_n") or 0
            return Counts(
                prompt_tokens=cached + (whole(times, "prompt_n") or 0),
                cached_tokens=cached,
                completion_tokens=produced,
                prompt_seconds=(number(times, "prompt_ms") or 0.0) / _MILLISECONDS,
                decode_seconds=(number(times, "predicted_ms") or 0.0) / _MILLISECONDS,
                timed_tokens=max(produced - 1, 0),
            )
        produced, tempo = whole(self._usage, "completion_tokens"), self._tempo
        per_piece = 1.0 if produced is None else produced / max(tempo.pieces, 1)
        return Counts(
            prompt_tokens=whole(self._usage, "prompt_tokens"),
            cached_tokens=whole(child(self._usage, "prompt_tokens_details"), "cached_tokens"),
            completion_tokens=produced,
            prompt_seconds=None if tempo.timed else 0.0,  # in an answer that comes at once, nobody sees where it begins
            decode_seconds=tempo.seconds,
            timed_tokens=round(tempo.timed * per_piece),
        )

    def _refuse_error(self, record: Record) -> None:
        error = record.get("error") or record.get("errors")
        if error:
            raise broken_off(error, self._asked)
        is_answer = "choices" in record or "content" in record
        if record.get("object") == "error" or (not is_answer and any(name in record for name in _ERRORS)):
            raise broken_off(record, self._asked)

    def _take_counts(self, record: Record) -> None:
        self._timings = child(record, "timings") or self._timings
        usage = child(record, "usage")
        if not (whole(usage, "prompt_tokens") or whole(usage, "completion_tokens")):
            return  # some send zeros for what they did not count
        self._usage = usage
        # Counts without text are the last that a server has to say.
        self.is_complete = self.reason is not None and not record.get("choices")

    def _events(self, choice: Json) -> Iterator[ProgressEvent]:
        yield from self._deltas(choice)
        reason = text(choice, "finish_reason")
        if reason is None:
            return
        if reason == "error":
            raise broken_off(choice.get("error"), self._asked)
        self._is_filtered = reason == "content_filter"
        self.reason = "length" if reason == "length" else "stop"
        yield from self._thinking.end()

    def _deltas(self, choice: Json) -> Iterator[ProgressEvent]:
        holder = child(choice, "delta") or child(choice, "message") or choice
        if holder.get("tool_calls") or holder.get("function_call"):
            self._calls_tool = True
        thought, piece = _reasoning(holder), _content(holder)
        if thought is None and piece is None:
            return
        tokens, is_estimate = self._new_tokens()
        if thought is not None:
            yield ReasoningDelta(thought, tokens, estimated=is_estimate)
            tokens = 0  # those of the text in the same record too
        if piece is not None:
            yield from self._thinking.feed(TextDelta(piece, tokens, estimated=is_estimate))

    def _new_tokens(self) -> tuple[int, bool]:
        """How many tokens the piece at hand has, and whether that is a guess."""
        self._tempo.add()
        total = whole(self._timings, "predicted_n")
        if total is None:
            total = whole(self._usage, "completion_tokens")
        if total is None:
            return 1, True
        tokens, self._counted = max(total - self._counted, 0), max(total, self._counted)
        return tokens, False


def _choice(record: Record) -> Json | None:
    """The first of several answers, as nobody asked for more."""
    for choice in children(record, "choices"):
        if str(choice.get("index") or 0) == "0":
            return choice
    return _completion_choice(record) if "content" in record else None  # of llama.cpp's own /completion


def _to_reading(progress: Json) -> ProgressEvent:
    return Reading(whole(progress, "processed") or 0, whole(progress, "total") or 0, whole(progress, "cache") or 0)


def _completion_choice(record: Record) -> Json:
    if record.get("stop") is not True:
        return {"content": record["content"]}
    is_cut = record.get("stop_type") == "limit" or record.get("stopped_limit") is True
    return {"content": record["content"], "finish_reason": "length" if is_cut else "stop"}


def _reasoning(holder: Json) -> str | None:
    """The reasoning of a piece: a text, or parts that some send beside the text, or among its parts."""
    thought = text(holder, *_REASONING)
    if thought is not None:
        return thought
    among = [inner for part in children(holder, "content") for inner in children(part, "thinking")]
    return _joined(children(holder, "reasoning_details") or among)


def _content(holder: Json) -> str | None:
    """The text of a piece, which may be a list of parts."""
    if not isinstance(holder.get("content"), list):
        return text(holder, "content", "text")
    return _joined(children(holder, "content")) or text(holder, "text")


def _joined(parts: Iterable[Json]) -> str | None:
    return "".join(text(part, "text") or "" for part in parts) or None
