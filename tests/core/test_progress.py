import json
from collections.abc import Callable

import pytest

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.events import Done, Event, Loading, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Generation, State
from localllm_magics.core.messages import to_messages
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from tests.core.test_events import COMPLETION

MODEL = ModelUsed(reference="demo", context=100, device="CPU")


class Clock:
    """Shows NOW, which a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def generation(clock: Clock) -> Generation:
    return Generation(Request(messages=to_messages("Why?"), id="7"), MODEL, notices=["Slow."], clock=clock)


@pytest.fixture
def feed(clock: Clock, generation: Generation) -> Callable[..., None]:
    def feed(*steps: tuple[float, Event]) -> None:
        for now, event in steps:
            clock.now = now
            generation.feed(event)

    return feed


def test_at_first_nothing_is_known(generation: Generation, clock: Clock) -> None:
    clock.now = 102.0

    progress = Progress.of(generation)

    assert (progress.id, progress.state, progress.seconds) == ("7", State.PENDING, 2.0)
    assert (progress.model, progress.notices) == (MODEL, ("Slow.",))
    assert (progress.tokens_per_second, progress.prompt_tokens_per_second, progress.ttft_seconds) == (None, None, None)
    assert (progress.context_used, progress.is_reasoning) == (None, False)
    assert progress.quiet_seconds == 2.0


def test_a_load_is_reported(generation: Generation, feed: Callable[..., None], clock: Clock) -> None:
    feed((101.0, Loading(0.0)), (103.0, Loading(0.5)))
    clock.now = 104.0

    progress = Progress.of(generation)

    assert (progress.state, progress.loaded, progress.seconds) == (State.LOADING, 0.5, 3.0)
    assert progress.quiet_seconds == 1.0


def test_a_prefill_is_reported_with_its_rate(generation: Generation, feed: Callable[..., None], clock: Clock) -> None:
    feed((101.0, Reading(256, 1024, 256)), (103.0, Reading(512, 1024, 256)))
    clock.now = 105.0

    progress = Progress.of(generation)

    assert (progress.prompt_done, progress.prompt_total, progress.prompt_cached) == (512, 1024, 256)
    assert progress.prompt_tokens_per_second == 64.0
    assert progress.context_used == 512


def test_the_rate_of_a_prefill_stays_when_it_has_ended(
    generation: Generation, feed: Callable[..., None], clock: Clock
) -> None:
    feed((101.0, Reading(0, 100)), (103.0, Reading(100, 100)), (104.0, TextDelta("So")))
    clock.now = 150.0

    assert Progress.of(generation).prompt_tokens_per_second == 50.0


def test_tokens_are_reported_with_their_rate_and_the_first_of_them_exactly(
    generation: Generation, feed: Callable[..., None], clock: Clock
) -> None:
    feed((101.0, Reading(10, 10)), (101.25, TextDelta("So", 1)), (102.5, TextDelta(" it", 2)))
    clock.now = 103.0

    progress = Progress.of(generation)

    assert (progress.tokens, progress.tokens_per_second, progress.is_estimated) == (3, 1.5, False)
    assert (progress.ttft_seconds, progress.context_used) == (1.25, 13)


def test_the_first_token_alone_has_no_rate(generation: Generation, feed: Callable[..., None], clock: Clock) -> None:
    feed((101.0, Reading(0, 0)), (102.0, TextDelta("So", 1)))
    clock.now = 102.001
    first = Progress.of(generation).tokens_per_second
    feed((104.0, TextDelta(" it", 1)))

    assert (first, Progress.of(generation).tokens_per_second) == (None, 0.5)


def test_an_estimate_is_marked(generation: Generation, feed: Callable[..., None]) -> None:
    feed((101.0, TextDelta("So", 1, estimated=True)))

    assert Progress.of(generation).is_estimated


def test_reasoning_is_told_from_the_answer(generation: Generation, feed: Callable[..., None]) -> None:
    feed((101.0, ReasoningDelta("Hm.")))
    before = Progress.of(generation).is_reasoning
    feed((102.0, TextDelta("So")))

    assert (before, Progress.of(generation).is_reasoning) == (True, False)


def test_after_the_end_the_rate_stays(generation: Generation, feed: Callable[..., None], clock: Clock) -> None:
    feed((101.0, Reading(1, 1)), (102.0, TextDelta("So", 4)), (103.0, Done(COMPLETION)))
    clock.now = 200.0

    progress = Progress.of(generation)

    assert (progress.state, progress.tokens_per_second) == (State.DONE, 4.0)


def test_an_end_without_tokens_has_no_rate(generation: Generation, feed: Callable[..., None]) -> None:
    feed((101.0, Reading(1, 1)), (103.0, Done(COMPLETION)))

    assert Progress.of(generation).tokens_per_second is None


def test_it_travels_as_json(generation: Generation) -> None:
    document = json.loads(json.dumps(Progress.of(generation).to_json()))

    assert (document["state"], document["notices"], document["model"]["reference"]) == ("pending", ["Slow."], "demo")
