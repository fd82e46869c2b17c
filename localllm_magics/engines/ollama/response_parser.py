"""Parses the streamed answers of Ollama's `/api/chat` and `/api/generate`."""

from collections.abc import Sequence
from dataclasses import replace

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import ProgressEvent, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.engines.reasoning_parser import ReasoningParser
from localllm_magics.engines.server.response import to_finish_reason
from localllm_magics.engines.server.server_error import ErrorContext, error_from_record
from localllm_magics.engines.wire.fields import Json, child, number, raw_text, text, whole
from localllm_magics.engines.wire.ndjson import Record
from localllm_magics.engines.wire.surrogates import SurrogateJoiner


class OllamaResponseParser:
    """Parses one answer; see `engines.server.response.ResponseParser`.

    Args:
        context: For the messages of errors.
        is_cached: Whether the server may have cached a part of the prompt, which it does not always report.
        is_raw: Whether the model continues plain text.
    """

    def __init__(self, context: ErrorContext, *, is_cached: bool = False, is_raw: bool = False) -> None:
        self.finish_reason: FinishReason | None = None
        self.is_complete = False
        self.has_counts = False  # they come with the end
        self._has_gone_on = False  # by a record that said so
        self._counts = Counts()
        self._pieces = 0
        self._context = context
        self._is_cached = is_cached
        self._reasoning = ReasoningParser(is_raw=is_raw)
        self._thinking_halves, self._content_halves = SurrogateJoiner(), SurrogateJoiner()

    @property
    def counts(self) -> Counts:
        """Those of the last record; the clock starts with the first token, which is about a piece."""
        tokens = self._counts.completion_tokens
        return replace(self._counts, timed_tokens=max((self._pieces if tokens is None else tokens) - 1, 0))

    def feed(self, record: Record) -> Sequence[ProgressEvent]:
        """The events in RECORD; a piece is about one token."""
        if record.get("error"):
            raise error_from_record(record["error"], self._context)
        holder = child(record, "message") or record
        events: list[ProgressEvent] = []
        if (reasoning := raw_text(holder, "thinking")) is not None:
            events.append(ReasoningDelta(self._thinking_halves.feed(reasoning), 1, estimated=True))
            self._pieces += 1
        if (piece := raw_text(holder, "content", "response")) is not None:
            events += self._reasoning.feed(TextDelta(self._content_halves.feed(piece), 1, estimated=True))
            self._pieces += 1
        done, reason = record.get("done"), text(record, "done_reason")
        if done is True or reason is not None:
            self.is_complete = self._ends(record, holder)
            self.finish_reason = to_finish_reason(reason or "stop")
            self._counts = self._to_counts(record)
        self._has_gone_on = self._has_gone_on or done is False
        return events

    def close(self) -> Sequence[ProgressEvent]:
        """The text that was held back."""
        return self._reasoning.end()

    def _ends(self, record: Record, holder: Json) -> bool:
        """Whether RECORD is the end: some proxies call each piece one, and some give the last no `done`."""
        done = record.get("done")
        if done is True and (self._has_gone_on or whole(record, "eval_count") is not None):
            return True
        if done is False or raw_text(holder, "thinking", "content", "response") or self.finish_reason is not None:
            return False
        return done is True or self._pieces > 0 or holder.keys().isdisjoint({"content", "response"})

    def _to_counts(self, record: Record) -> Counts:
        prompt, cached = whole(record, "prompt_eval_count"), whole(record, "prompt_eval_cached_count")
        seconds = _seconds(record, "prompt_eval_duration")
        # All tokens of the prompt are counted, but only those not in the cache are timed: without the number of
        # cached tokens there is no rate.
        is_rate_known = cached is not None or not self._is_cached
        return Counts(
            prompt_tokens=prompt,
            cached_tokens=min(cached or 0, prompt or 0),
            completion_tokens=whole(record, "eval_count"),
            load_seconds=_seconds(record, "load_duration"),
            prompt_seconds=seconds if is_rate_known else 0.0,
            decode_seconds=_seconds(record, "eval_duration") or None,
        )


def _seconds(record: Record, name: str) -> float:
    """A duration; the server leaves out one of 0."""
    return (number(record, name) or 0.0) / 1e9
