"""Parses the streamed answers of servers that speak the OpenAI API."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.engines.openai.arrival_rate import ArrivalRate
from localllm_magics.engines.openai.records import END_OF_STREAM
from localllm_magics.engines.reasoning_parser import ReasoningParser
from localllm_magics.engines.server.response import to_finish_reason
from localllm_magics.engines.server.server_error import ErrorContext, error_from_record
from localllm_magics.engines.wire.fields import Json, child, children, number, raw_text, text, whole, word
from localllm_magics.engines.wire.ndjson import Record
from localllm_magics.engines.wire.surrogates import SurrogateJoiner

_MILLISECONDS = 1e3
_REASONING = ("reasoning_content", "reasoning", "thinking")
_ERRORS = ("detail", "message", "msg")
_FILTERED = "The server's content filter ended the answer."
_CALLS_TOOL = "The model called a tool, and has none here."


class OpenAIResponseParser:
    """Parses one answer; see `engines.server.response.ResponseParser`.

    Args:
        context: For the messages of errors.
        is_raw: Whether it continues plain text.
        needs_reason: Whether `[DONE]` without a finish reason means that the server dropped the answer.
        clock: For the times of pieces.
    """

    def __init__(
        self,
        context: ErrorContext,
        *,
        is_raw: bool = False,
        needs_reason: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self.is_complete = False
        self.has_counts = False
        self.model: str | None = None
        """The model that the server names in its answer."""
        self._context = context
        self._needs_reason = needs_reason
        self._reasoning = ReasoningParser(is_raw=is_raw)
        self._reasoning_halves, self._content_halves = SurrogateJoiner(), SurrogateJoiner()
        self._arrivals = ArrivalRate(clock)
        self._counted = 0
        self._timings: Json = {}
        self._usage: Json = {}
        self._has_begun = False
        self._is_filtered = False
        self._calls_tool = False

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        """The events in RECORD."""
        self._arrivals.note_read()
        if record is END_OF_STREAM:
            self.is_complete = True
            if self._has_begun and not self._needs_reason:
                self.finish_reason = self.finish_reason or "stop"
            return ()
        self._raise_error(record)
        self._store_counts(record)
        self.model = word(record, "model") or self.model
        progress, choice = child(record, "prompt_progress"), _choice(record)
        events: list[ProgressEvent] = []
        if progress:
            done, total, cached = (whole(progress, name) or 0 for name in ("processed", "total", "cache"))
            events.append(Reading(done, total, cached))
        if choice is not None:
            events += self._events(choice)
        return events

    def close(self) -> Sequence[ProgressEvent]:
        """The text that was held back."""
        return self._reasoning.end()

    @property
    def notices(self) -> tuple[str, ...]:
        """Why an answer is not complete, in sentences."""
        return (_FILTERED,) * self._is_filtered + (_CALLS_TOOL,) * self._calls_tool

    @property
    def counts(self) -> Counts:
        """Counts and times of the server; where it sends no times, those of the arrivals."""
        times = self._timings
        if (produced := whole(times, "predicted_n")) is not None:
            cached = whole(times, "cache_n") or 0
            return Counts(
                prompt_tokens=cached + (whole(times, "prompt_n") or 0),
                cached_tokens=cached,
                completion_tokens=produced,
                prompt_seconds=(number(times, "prompt_ms") or 0.0) / _MILLISECONDS,
                decode_seconds=(number(times, "predicted_ms") or 0.0) / _MILLISECONDS,
                timed_tokens=max(produced - 1, 0),
            )
        produced, arrivals = whole(self._usage, "completion_tokens"), self._arrivals
        per_piece = 1.0 if produced is None else produced / max(arrivals.pieces, 1)
        return Counts(
            prompt_tokens=whole(self._usage, "prompt_tokens"),
            cached_tokens=whole(child(self._usage, "prompt_tokens_details"), "cached_tokens"),
            completion_tokens=produced,
            prompt_seconds=None if arrivals.timed_pieces else 0.0,  # not measurable in an answer that comes in one read
            decode_seconds=arrivals.seconds,
            timed_tokens=round(arrivals.timed_pieces * per_piece),
        )

    def _raise_error(self, record: Record) -> None:
        error = record.get("error") or record.get("errors")
        if error:
            raise error_from_record(error, self._context)
        is_answer = "choices" in record or "content" in record
        if record.get("object") == "error" or (not is_answer and any(record.get(name) for name in _ERRORS)):
            raise error_from_record(record, self._context)

    def _store_counts(self, record: Record) -> None:
        self._timings = child(record, "timings") or self._timings
        usage = child(record, "usage")
        if not (whole(usage, "prompt_tokens") or whole(usage, "completion_tokens")):
            return  # some servers send zeros for what they did not count
        self._usage = usage
        self.has_counts = not record.get("choices")

    def _events(self, choice: Json) -> Iterator[ProgressEvent]:
        self._has_begun, self.has_counts = True, False
        yield from self._deltas(choice)
        reason = text(choice, "finish_reason")
        if reason is None:
            return
        if reason == "error":
            raise error_from_record(choice.get("error"), self._context)
        self._is_filtered = reason == "content_filter"
        self.finish_reason = to_finish_reason(reason)

    def _deltas(self, choice: Json) -> Iterator[ProgressEvent]:
        holder = child(choice, "delta") or child(choice, "message") or choice
        if holder.get("tool_calls") or holder.get("function_call"):
            self._calls_tool = True
        reasoning, piece = _reasoning(holder), _content(holder)
        if reasoning is None and piece is None:
            return
        tokens, is_estimate = self._new_tokens()
        if reasoning is not None:
            yield ReasoningDelta(self._reasoning_halves.feed(reasoning), tokens, estimated=is_estimate)
            tokens = 0  # they include those of the text in the same record
        if piece is not None:
            yield from self._reasoning.feed(TextDelta(self._content_halves.feed(piece), tokens, estimated=is_estimate))

    def _new_tokens(self) -> tuple[int, bool]:
        """How many tokens the current piece has, and whether that is an estimate."""
        self._arrivals.count_piece()
        total = whole(self._timings, "predicted_n")
        if total is None:
            total = whole(self._usage, "completion_tokens")
        if total is None:
            return 1, True
        tokens, self._counted = max(total - self._counted, 0), max(total, self._counted)
        return tokens, False


def _choice(record: Record) -> Json | None:
    """The first of several choices, as only one was asked for."""
    for choice in children(record, "choices"):
        if str(choice.get("index") or 0) == "0":
            return choice
    return _completion_choice(record) if "content" in record else None  # from llama.cpp's own /completion


def _completion_choice(record: Record) -> Json:
    if record.get("stop") is not True:
        return {"content": record["content"]}
    is_length = record.get("stop_type") == "limit" or record.get("stopped_limit") is True
    return {"content": record["content"], "finish_reason": "length" if is_length else "stop"}


def _reasoning(holder: Json) -> str | None:
    """The reasoning of a piece: a text, or parts that some servers send beside the text, or among its parts."""
    reasoning = raw_text(holder, *_REASONING)
    if reasoning is not None:
        return reasoning
    nested = [inner for part in children(holder, "content") for inner in children(part, "thinking")]
    return _joined(children(holder, "reasoning_details") or nested)


def _content(holder: Json) -> str | None:
    """The text of a piece, which may be a list of parts."""
    if not isinstance(holder.get("content"), list):
        return raw_text(holder, "content", "text", "refusal")
    return _joined(children(holder, "content")) or raw_text(holder, "text", "refusal")


def _joined(parts: Iterable[Json]) -> str | None:
    return "".join(raw_text(part, "text", "refusal") or "" for part in parts) or None
