from collections.abc import Callable
from dataclasses import replace

import pytest

from localllm_magics.core.completion import FinishReason, ModelUsed, Stats
from localllm_magics.core.errors import StreamBroken
from localllm_magics.core.events import Loading, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.version import __version__

REQUEST = Request(messages=to_messages("Why?"), sampling=Sampling(seed=7), notices=("Mind the step.",), id="abc")
MODEL = ModelUsed(reference="demo", context=100)


def clock(*times: float) -> Callable[[], float]:
    """A clock that shows TIMES, one after another, and must not be read more often."""
    return iter(times).__next__


def test_a_whole_generation_is_added_up() -> None:
    recorder = Recorder(REQUEST, MODEL, engine_version="llama 1", clock=clock(10, 12, 13, 14, 14.5, 18, 20))

    recorder.loaded()
    recorder.prompt_tokens, recorder.cached_tokens = 50, 10
    recorder.reading()
    recorder.read()
    recorder.add("Be", 1)
    recorder.add("cause", 3)
    recorder.end()
    completion = recorder.completion("stop")

    assert completion.text == "Because"
    assert completion.stats == Stats(
        prompt_tokens=50,
        cached_tokens=10,
        completion_tokens=4,
        load_seconds=2,
        ttft_seconds=4.5,
        prompt_seconds=1,
        decode_seconds=4,
        total_seconds=10,
    )
    assert completion.stats.prompt_tokens_per_second == 40
    assert completion.stats.tokens_per_second == 1


def test_what_was_asked_is_in_the_completion() -> None:
    completion = Recorder(REQUEST, MODEL, engine_version="llama 1").completion("stop")

    assert (completion.id, completion.model, completion.sampling) == ("abc", MODEL, REQUEST.sampling)
    assert (completion.versions.localllm_magics, completion.versions.engine) == (__version__, "llama 1")
    assert completion.notices == ("Mind the step.",)
    assert completion.error is None


def test_a_stop_while_loading_has_no_counts() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 13))

    stats = recorder.completion("stopped").stats

    assert stats == Stats(total_seconds=3)
    assert (stats.tokens_per_second, stats.prompt_tokens_per_second) == (0, 0)


def test_a_stop_while_reading_has_no_answer() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 11, 12, 15))

    recorder.loaded()
    recorder.prompt_tokens = 9
    recorder.reading()
    stats = recorder.completion("stopped").stats

    assert stats == Stats(prompt_tokens=9, load_seconds=1, total_seconds=5)


def test_an_error_is_kept_with_the_text_so_far() -> None:
    recorder = Recorder(REQUEST, MODEL)

    recorder.add("Beca", 2)
    completion = recorder.completion("error", StreamBroken("Gone.", "Try again."))

    assert (completion.text, completion.state) == ("Beca", "failed")
    assert completion.error is not None
    assert (completion.error.kind, completion.error.message, completion.error.hint) == (
        "stream_broken",
        "Gone.",
        "Try again.",
    )


def test_notices_of_one_generation_stay_out_of_the_next() -> None:
    first = Recorder(REQUEST, MODEL)
    first.notices.append("Slow.")

    assert Recorder(REQUEST, MODEL).completion("stop").notices == ("Mind the step.",)
    assert first.completion("stop").notices == ("Mind the step.", "Slow.")


def test_what_a_server_counted_replaces_what_we_counted() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 11, 12, 15))
    recorder.add("Because", 2)
    recorder.end()
    recorder.counts = Counts(
        prompt_tokens=50,
        cached_tokens=10,
        completion_tokens=4,
        load_seconds=0.5,
        prompt_seconds=0.25,
        decode_seconds=2.0,
        timed_tokens=3,
    )

    stats = recorder.completion("stop").stats

    assert stats == Stats(
        prompt_tokens=50,
        cached_tokens=10,
        completion_tokens=4,
        load_seconds=0.5,
        ttft_seconds=1,
        prompt_seconds=0.25,
        decode_seconds=2.0,
        total_seconds=5,
        timed_tokens=3,
    )
    assert (stats.prompt_tokens_per_second, stats.tokens_per_second) == (160, 1.5)


def test_what_a_server_does_not_tell_stays_ours() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 11, 14, 15))
    recorder.estimated = True
    recorder.add("Because", 2)
    recorder.end()
    recorder.counts = Counts(prompt_tokens=50)

    stats = recorder.completion("stop").stats

    assert stats == Stats(
        prompt_tokens=50, completion_tokens=2, ttft_seconds=1, decode_seconds=4, total_seconds=5, estimated=True
    )


def test_a_count_of_nothing_is_a_count() -> None:
    recorder = Recorder(REQUEST, MODEL)
    recorder.add("", 7)
    recorder.counts = Counts(completion_tokens=0)

    assert recorder.completion("stop").stats.completion_tokens == 0


def test_reasoning_is_apart_from_the_answer_and_counts() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 11, 12, 15))
    recorder.think("Hm", 2)
    recorder.think("m.", 1)
    recorder.add("Because", 1)
    recorder.end()

    completion = recorder.completion("stop")

    assert (completion.reasoning, completion.text) == ("Hmm.", "Because")
    assert (completion.stats.completion_tokens, completion.stats.ttft_seconds) == (4, 1)


def test_without_reasoning_there_is_none() -> None:
    assert Recorder(REQUEST, MODEL).completion("stop").reasoning is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('{"name": "Oslo", "people": [1, 2]}', {"name": "Oslo", "people": [1, 2]}, id="an object"),
        pytest.param(' "Oslo"\n', "Oslo", id="with blanks"),
        pytest.param("Oslo", None, id="a server that does not know of schemas"),
        pytest.param('{"name": "Os', None, id="cut off"),
        pytest.param("[" * 100_000, None, id="nested without end"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_an_answer_that_follows_a_schema_has_a_value(text: str, value: object) -> None:
    recorder = Recorder(replace(REQUEST, schema={"type": "object"}), MODEL)
    recorder.add(text, 1)

    assert recorder.completion("stop").value == value


@pytest.mark.parametrize("reason", ["length", "stopped", "error"])
def test_what_did_not_end_by_itself_has_no_value(reason: FinishReason) -> None:
    recorder = Recorder(replace(REQUEST, schema={"type": "object"}), MODEL)
    recorder.add("{}", 1)

    assert recorder.completion(reason).value is None


def test_without_a_schema_json_is_text() -> None:
    recorder = Recorder(REQUEST, MODEL)
    recorder.add("{}", 1)

    completion = recorder.completion("stop")

    assert (completion.text, completion.value) == ("{}", None)


def test_events_are_taken_down_as_they_come() -> None:
    recorder = Recorder(REQUEST, MODEL, clock=clock(10, 12, 13, 14, 15, 16, 17, 18, 20))
    recorder.reading()

    for event in (Loading(1.0), Reading(3, 3), ReasoningDelta("Hm.", 1), TextDelta("Be", 1), TextDelta("cause", 3)):
        recorder.take(event)
    completion = recorder.completion("stop")

    assert (completion.reasoning, completion.text) == ("Hm.", "Because")
    stats = completion.stats
    assert (stats.completion_tokens, stats.prompt_seconds, stats.ttft_seconds) == (5, 1, 4)
    assert (stats.decode_seconds, stats.total_seconds) == (4, 8)
