"""Understands the answers of servers that speak as OpenAI does."""

from collections.abc import Iterator, Sequence

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import Event, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.recorder import Counts
from localllm_magics.engines.daemon.refusal import Asked, broken_off
from localllm_magics.engines.wire import sse
from localllm_magics.engines.wire.fields import Json, child, children, number, text, whole
from localllm_magics.engines.wire.ndjson import Malformed, Record

_MILLISECONDS = 1e3
END: Record = {"object": "[DONE]"}
"""Stands for the mark at the end of a stream."""
_REASONING = ("reasoning_content", "reasoning", "thinking")


def sse_records(chunks: Iterator[bytes]) -> Iterator[Record | Malformed]:
    """The records in CHUNKS, as they become whole; the mark at the end is `END`."""
    decoder = sse.SSE()
    for chunk in chunks:
        yield from _records(decoder.feed(chunk))
    yield from _records(decoder.close())


class OpenAIReading:
    """One answer; see `daemon.answer.Reading`.

    Args:
        asked: For the words of errors.
    """

    def __init__(self, asked: Asked) -> None:
        self.reason: FinishReason | None = None
        self.is_complete = False
        self.is_empty = True
        self._asked = asked
        self._pieces = 0
        self._counted = 0
        self._timings: Json = {}
        self._usage: Json = {}

    def feed(self, record: Record) -> Sequence[Event]:
        """The events in RECORD."""
        if record is END:
            self.is_complete = True
            return ()
        self.is_empty = False
        self._refuse_error(record)
        self._timings = child(record, "timings") or self._timings
        self._usage = child(record, "usage") or self._usage
        progress = child(record, "prompt_progress")
        events = [_to_reading(progress)] if progress else []
        choice = next((choice for choice in children(record, "choices") if not choice.get("index")), None)
        if choice is None and "content" in record:
            choice = _completion_choice(record)  # of llama.cpp's own /completion
        if choice is None:
            return events
        reason = text(choice, "finish_reason")
        if reason is not None:
            self.reason = "length" if reason == "length" else "stop"
        return [*events, *self._deltas(choice)]

    @property
    def counts(self) -> Counts:
        """Counts of the server: its timings, or its usage, or nothing but how the pieces are timed."""
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
        produced = whole(self._usage, "completion_tokens")
        return Counts(
            prompt_tokens=whole(self._usage, "prompt_tokens"),
            cached_tokens=whole(child(self._usage, "prompt_tokens_details"), "cached_tokens"),
            completion_tokens=produced,
            timed_tokens=max((self._pieces if produced is None else produced) - 1, 0),
        )

    def _refuse_error(self, record: Record) -> None:
        error = record.get("error")
        if error:
            raise broken_off(error, self._asked)
        if record.get("object") == "error" or ("detail" in record and "choices" not in record):
            raise broken_off(record, self._asked)

    def _deltas(self, choice: Json) -> Iterator[Event]:
        holder = child(choice, "delta") or child(choice, "message") or choice
        thought, piece = text(holder, *_REASONING), _content(holder)
        if thought is None and piece is None:
            return
        tokens, is_estimate = self._new_tokens()
        if thought is not None:
            yield ReasoningDelta(thought, tokens, estimated=is_estimate)
            tokens = 0  # those of the text in the same record too
        if piece is not None:
            yield TextDelta(piece, tokens, estimated=is_estimate)

    def _new_tokens(self) -> tuple[int, bool]:
        """How many tokens the piece at hand has, and whether that is a guess."""
        self._pieces += 1
        total = whole(self._timings, "predicted_n")
        if total is None:
            total = whole(self._usage, "completion_tokens")
        if total is None:
            return 1, True
        tokens, self._counted = max(total - self._counted, 0), max(total, self._counted)
        return tokens, False


def _records(events: list[sse.Event | Malformed]) -> Iterator[Record | Malformed]:
    for event in events:
        record = event if isinstance(event, Malformed) else sse.to_record(event)
        yield END if record is None else record


def _to_reading(progress: Json) -> Event:
    return Reading(whole(progress, "processed") or 0, whole(progress, "total") or 0, whole(progress, "cache") or 0)


def _completion_choice(record: Record) -> Json:
    if record.get("stop") is not True:
        return {"content": record["content"]}
    is_cut = record.get("stop_type") == "limit" or record.get("stopped_limit") is True
    return {"content": record["content"], "finish_reason": "length" if is_cut else "stop"}


def _content(holder: Json) -> str | None:
    """The text of a piece, which may be a list of parts."""
    if not isinstance(holder.get("content"), list):
        return text(holder, "content", "text")
    return "".join(text(part, "text") or "" for part in children(holder, "content")) or text(holder, "text")
