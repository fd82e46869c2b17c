import gc
import sys
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import GenerationFailed, IllegalTransition, LocalLLMError, SetupError, StreamBroken
from localllm_magics.core.events import Done, Event, Failed, Loading, Pending, ProgressEvent, Reading, TextDelta
from localllm_magics.core.generation import Generation, State
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.base import EngineStatus, Preview
from localllm_magics.engines.stream import running_streams
from localllm_magics.testing import ScriptedEngine
from tests.engines.generations import stream_of

REQUEST = Request(messages=to_messages("Why?"), id="7")


MODEL = ModelUsed(reference="broken", context=10)


class BrokenEngine:
    """Yields EVENTS, then raises ERROR, or returns REASON."""

    def __init__(self, *events: ProgressEvent, error: BaseException | None = None, reason: Any = "stop") -> None:  # noqa: ANN401 - what an engine without types may return
        self.events = events
        self.error = error
        self.reason = reason
        self.is_ended = False
        self.may_end = threading.Event()
        self.may_end.set()

    def status(self, *, refresh: bool = False) -> EngineStatus:
        return EngineStatus(model=MODEL, options=LoadOptions(), notices=("Slow.",))

    def load(self, stop: Stop) -> Iterator[Loading]:
        raise AssertionError("A stream has no load of its own.")

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        generation.notices.append("Mind the step.")
        try:
            yield from self.events
            self.may_end.wait()
            if self.error is not None:
                raise self.error
            reason: FinishReason = self.reason
            return reason
        finally:
            self.is_ended = True

    def preview(self, request: Request, stop: Stop) -> Preview:
        raise AssertionError("A stream needs no preview.")

    def with_options(self, options: LoadOptions) -> "BrokenEngine":
        raise AssertionError("A stream loads nothing anew.")

    def close(self) -> None:
        pass


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("localllm-")]


def test_events_come_in_order_and_end_with_done() -> None:
    with stream_of(ScriptedEngine("So it is."), REQUEST) as stream:
        events = list(stream)

    completion = stream.completion()
    assert events == [
        Pending(),
        Loading(1.0),
        Reading(1, 1),
        TextDelta("So"),
        TextDelta(" it"),
        TextDelta(" is."),
        Done(completion),
    ]
    assert (completion.text, completion.id) == ("So it is.", "7")


def test_a_finished_stream_is_told_again_alike() -> None:
    with stream_of(ScriptedEngine("So it is."), REQUEST) as stream:
        first = list(stream)

    assert list(stream) == first
    assert stream.since(0) == first
    assert stream.since(4) == first[4:]


def test_many_watchers_see_the_same() -> None:
    seen: list[list[Event]] = []
    engine = ScriptedEngine(" ".join("abcdefgh" * 20), hangs_after=80)
    with stream_of(engine, REQUEST) as stream:
        watchers = [threading.Thread(target=lambda: seen.append(list(stream))) for _ in range(4)]
        for watcher in watchers:
            watcher.start()
        stream.stop()
        for watcher in watchers:
            watcher.join()

    assert seen == [list(stream)] * 4


def test_a_watcher_always_sees_the_end() -> None:
    for _ in range(200):
        with stream_of(ScriptedEngine("a b"), REQUEST) as stream:
            last = [event for event in stream][-1]  # noqa: C416 - iterating is what is tested

        assert isinstance(last, Done)


@pytest.mark.parametrize(
    ("engine", "kind", "message"),
    [
        pytest.param(
            BrokenEngine(Reading(0, 1), TextDelta("Be", 2), error=StreamBroken("Gone.", "Again.")),
            StreamBroken,
            "Gone.",
            id="an error of ours",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), error=ZeroDivisionError("by zero")),
            GenerationFailed,
            "The engine failed: ZeroDivisionError: by zero",
            id="any other error",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), error=KeyboardInterrupt()),
            GenerationFailed,
            "The engine failed: KeyboardInterrupt: ",
            id="not even an error",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), reason=None),
            GenerationFailed,
            "The engine ended without a finish reason.",
            id="no reason",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), reason="error"),
            GenerationFailed,
            "The engine ended without a finish reason.",
            id="an error that is not raised",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), Pending()),  # type: ignore[arg-type] # what no engine may do
            GenerationFailed,
            "The engine yielded Pending(), which only its stream may.",
            id="an event of the stream's",
        ),
        pytest.param(
            BrokenEngine(TextDelta("Be", 2), Loading(0.5), TextDelta("cause")),
            IllegalTransition,
            "Generation 7 cannot go from generating to loading.",
            id="an illegal move",
        ),
    ],
)
def test_a_failure_keeps_the_text_so_far(engine: BrokenEngine, kind: type[LocalLLMError], message: str) -> None:
    with stream_of(engine, REQUEST) as stream:
        events = list(stream)

    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (type(failed.error), failed.error.message) == (kind, message)
    assert (failed.completion.text, failed.completion.stats.completion_tokens) == ("Be", 2)
    assert (failed.completion.finish_reason, failed.completion.model) == ("error", MODEL)
    assert failed.completion.notices == ("Mind the step.", "Slow.")
    assert [type(event) for event in events].count(Failed) == 1
    assert engine.is_ended


def test_an_engine_that_fails_to_report_its_status_at_the_end_ends() -> None:
    class WithoutStatus(BrokenEngine):
        def status(self, *, refresh: bool = False) -> EngineStatus:
            if self.is_ended:
                raise ZeroDivisionError("by zero")
            return super().status(refresh=refresh)

    with stream_of(WithoutStatus(TextDelta("Be")), REQUEST) as stream:
        last = list(stream)[-1]

    assert isinstance(last, Failed)
    assert (last.completion.text, last.error.message) == ("Be", "The engine failed: ZeroDivisionError: by zero")


def test_a_failure_is_raised_to_whoever_wants_the_completion() -> None:
    with stream_of(BrokenEngine(error=ZeroDivisionError("by zero")), REQUEST) as stream:
        pass

    with pytest.raises(GenerationFailed) as caught:
        stream.completion()

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "error", [StreamBroken("Gone."), ZeroDivisionError(), Stopped()], ids=["an error", "any error", "stopped"]
)
def test_an_error_after_a_stop_is_a_stop(error: BaseException) -> None:
    engine = BrokenEngine(TextDelta("Be"), error=error)
    engine.may_end.clear()
    with stream_of(engine, REQUEST) as stream:
        stream.stop()
        engine.may_end.set()
        *_, last = stream

    assert isinstance(last, Done)
    assert (last.completion.finish_reason, last.completion.text) == ("stopped", "Be")
    assert stream.generation.state is State.STOPPED


def test_an_answer_that_ends_by_itself_after_a_stop_is_done() -> None:
    engine = BrokenEngine(TextDelta("Be"))
    engine.may_end.clear()
    with stream_of(engine, REQUEST) as stream:
        stream.stop()
        engine.may_end.set()

        assert stream.completion().finish_reason == "stop"


def test_the_end_of_the_block_stops_the_generation() -> None:
    with stream_of(ScriptedEngine("one two three", hangs_after=1), REQUEST) as stream:
        was_running = stream.is_running

    assert (was_running, stream.is_running) == (True, False)
    assert workers() == []
    assert stream.completion().finish_reason == "stopped"


def test_an_error_in_the_block_stops_the_generation() -> None:
    with pytest.raises(KeyboardInterrupt), stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST) as stream:
        raise KeyboardInterrupt

    assert stream.generation.state is State.STOPPED
    assert workers() == []


def test_stop_keeps_the_text_so_far() -> None:
    with stream_of(ScriptedEngine("one two three", hangs_after=2), REQUEST) as stream:
        for event in stream:
            if event == TextDelta(" two"):
                stream.stop()

        assert stream.completion().text == "one two"
        assert stream.generation.state is State.STOPPED


def test_closing_again_is_no_error() -> None:
    stream = stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST)

    stream.close()
    events = list(stream)
    stream.close()
    stream.stop()

    assert list(stream) == events


def test_many_threads_may_close() -> None:
    stream = stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST)
    closers = [threading.Thread(target=stream.close) for _ in range(4)]

    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()

    assert workers() == []
    assert stream.completion().finish_reason == "stopped"


def test_waiting_tells_whether_the_end_came() -> None:
    with stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST) as stream:
        assert not stream.wait(0)
        stream.stop()
        assert stream.wait()
        assert stream.wait(0)


def test_a_waiter_waits_as_long_as_it_takes() -> None:
    with stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST) as stream:
        stopper = threading.Timer(0.25, stream.stop)
        stopper.start()

        events = list(stream)
        stream.wait()

    stopper.join()
    assert isinstance(events[-1], Done)


def test_a_stream_leaves_nothing_behind() -> None:
    stream = stream_of(ScriptedEngine("one two", hangs_after=1), REQUEST)
    list(zip(stream, range(2), strict=False))
    stream.close()
    gone = weakref.ref(stream)

    del stream
    gc.collect()

    assert gone() is None
    assert workers() == []


def test_a_failed_stream_leaves_nothing_behind() -> None:
    stream = stream_of(BrokenEngine(TextDelta("a"), error=ZeroDivisionError()), REQUEST)
    stream.close()
    gone = weakref.ref(stream)

    del stream
    gc.collect()

    assert gone() is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stack may be as large as one likes")
def test_a_worker_that_cannot_start_is_told() -> None:
    usual = threading.stack_size(2**44)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            stream_of(ScriptedEngine("one"), REQUEST)
    finally:
        threading.stack_size(usual)


def test_its_repr_shows_where_it_stands() -> None:
    with stream_of(ScriptedEngine("one two"), REQUEST) as stream:
        stream.wait()

    assert repr(stream) == "<Stream of <Generation 7 done, 2 tokens>>"


def test_next_gives_one_event_after_another() -> None:
    with stream_of(ScriptedEngine("So it is."), REQUEST) as stream:
        events = [next(stream) for _ in range(7)]

        assert events == list(stream)
        with pytest.raises(StopIteration):
            next(stream)


def test_running_streams_are_found_from_anywhere() -> None:
    with stream_of(ScriptedEngine("So it is.", hangs_after=1), REQUEST) as stream:
        running = running_streams()
        stream.stop()
        stream.wait()

        assert running == (stream,)
        assert running_streams() == ()


def test_what_came_before_an_error_was_timed_when_it_came() -> None:
    engine = BrokenEngine(Reading(0, 3), TextDelta("So"), TextDelta(" it"), error=StreamBroken("Gone."))
    with stream_of(engine, REQUEST) as stream:
        *_, last = stream

    assert isinstance(last, Failed)
    stats = last.completion.stats
    assert 0 < stats.prompt_seconds <= stats.ttft_seconds <= stats.ttft_seconds + stats.decode_seconds
    assert stats.decode_seconds > 0
    assert stats.ttft_seconds + stats.decode_seconds <= stats.total_seconds


def test_an_error_before_the_first_text_has_no_first_text() -> None:
    with stream_of(BrokenEngine(Loading(0.0), error=StreamBroken("Gone.")), REQUEST) as stream:
        *_, last = stream

    assert isinstance(last, Failed)
    assert (last.completion.stats.ttft_seconds, last.completion.stats.decode_seconds) == (0.0, 0.0)


def test_too_few_threads_are_an_error_in_words() -> None:
    with pytest.raises(SetupError, match="allows no more threads"):
        stream_of(BrokenEngine(error=RuntimeError("can't start new thread"))).completion()
