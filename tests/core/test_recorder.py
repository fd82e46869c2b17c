from collections.abc import Callable

from localllm_magics.core.completion import ModelUsed, Stats
from localllm_magics.core.errors import StreamBroken
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import Request, Sampling, to_messages
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
