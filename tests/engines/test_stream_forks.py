"""A stream in a process that was forked while it ran."""

import os

import pytest

from localllm_magics.core.events import Failed, TextDelta
from localllm_magics.engines.stream import Stream
from localllm_magics.testing import ScriptedEngine
from tests.engines.generations import stream_of
from tests.forking import in_forked_process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_stream_ends_in_a_forked_process() -> None:
    engine = ScriptedEngine("one two three", hangs_after=1)
    with stream_of(engine) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        ends = [in_forked_process(lambda: has_ended_forked(stream)) for _ in range(2)]
        is_running = stream.is_running

    assert ends == [True, True]
    assert is_running


def has_ended_forked(stream: Stream) -> bool:
    stream.close()
    end = list(stream)[-1]
    return isinstance(end, Failed) and end.completion.text == "one" and "forked" in end.error.message


def test_a_finished_stream_stays_as_it_is_after_a_fork() -> None:
    stream = stream_of(ScriptedEngine("Yes."))
    events = list(stream)
    stream.close()

    stream.after_fork()

    assert list(stream) == events
    assert not stream.is_running


# The worker, which would not be there, finds its stream ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_stream_that_runs_elsewhere_is_a_failure() -> None:
    engine = ScriptedEngine("one two", hangs_after=1)
    with stream_of(engine) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        worker_stop = stream._stop  # noqa: SLF001 - the one that the worker knows
        stream.after_fork()
        end = list(stream)[-1]
        worker_stop.set()

    assert isinstance(end, Failed)
    assert end.error.hint == "Ask again."
