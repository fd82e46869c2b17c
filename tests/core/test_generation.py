from collections.abc import Callable
from dataclasses import replace

import pytest

from localllm_magics.core.completion import FinishReason, ModelUsed, Stats
from localllm_magics.core.errors import IllegalTransition, StreamBroken
from localllm_magics.core.events import Done, Event, Failed, Loading, Pending, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Counts, Generation, State, target
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.version import __version__
from tests.core.test_events import COMPLETION

REQUEST = Request(messages=to_messages("Why?"), sampling=Sampling(seed=7), id="7")
MODEL = ModelUsed(reference="demo", context=100)
STOPPED = replace(COMPLETION, finish_reason="stopped")
BROKEN = Failed(StreamBroken("Gone."), replace(COMPLETION, finish_reason="error"))
EVENTS: dict[str, tuple[Event, State]] = {
    "pending": (Pending(), State.PENDING),
    "loading": (Loading(0.5), State.LOADING),
    "reading": (Reading(1, 2), State.READING),
    "text": (TextDelta("Hi", 2), State.GENERATING),
    "reasoning": (ReasoningDelta("Hm", 3), State.GENERATING),
    "done": (Done(COMPLETION), State.DONE),
    "stopped": (Done(STOPPED), State.STOPPED),
    "failed": (BROKEN, State.FAILED),
}
WAYS: dict[State, list[Event]] = {
    State.PENDING: [],
    State.LOADING: [Loading(0.1)],
    State.READING: [Loading(0.1), Reading(0, 2)],
    State.GENERATING: [Reading(0, 2), TextDelta("Oh", 1)],
    State.DONE: [TextDelta("Oh", 1), Done(COMPLETION)],
    State.STOPPED: [Done(STOPPED)],
    State.FAILED: [Loading(0.1), BROKEN],
}
# Written out once more, to be compared with the table in the module.
ALLOWED = {
    State.PENDING: "pending loading reading text reasoning done stopped failed",
    State.LOADING: "loading reading text reasoning done stopped failed",
    State.READING: "reading text reasoning done stopped failed",
    State.GENERATING: "text reasoning done stopped failed",
    State.DONE: "",
    State.STOPPED: "",
    State.FAILED: "",
}
PRODUCT = [pytest.param(state, name, id=f"{state.value}, {name}", marks=()) for state in State for name in EVENTS]


def generation_in(state: State) -> Generation:
    generation = Generation(REQUEST, MODEL)
    for event in WAYS[state]:
        generation.feed(event)
    return generation


def facts(generation: Generation) -> tuple[object, ...]:
    return (
        generation.state,
        generation.loaded,
        generation.reading,
        generation.text,
        generation.reasoning,
        generation.tokens,
        generation.completion,
        generation.error,
    )


@pytest.mark.parametrize(("state", "name"), PRODUCT)
def test_each_state_takes_each_event_or_refuses_it_unchanged(state: State, name: str) -> None:
    generation = generation_in(state)
    before = facts(generation)
    event, leads_to = EVENTS[name]

    if name in ALLOWED[state].split():
        generation.feed(event)
        assert generation.state is leads_to
    else:
        with pytest.raises(IllegalTransition) as caught:
            generation.feed(event)
        assert facts(generation) == before
        assert caught.value.message == f"Generation 7 cannot go from {state.value} to {leads_to.value}."


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_names_the_state_it_leads_to(name: str) -> None:
    event, leads_to = EVENTS[name]

    assert target(event) is leads_to


def test_text_reasoning_and_tokens_add_up() -> None:
    generation = Generation(REQUEST, MODEL)

    for event in (ReasoningDelta("Hm", 2), ReasoningDelta("m.", 1), TextDelta("He", 1), TextDelta("y", 3)):
        generation.feed(event)

    assert (generation.reasoning, generation.text, generation.tokens) == ("Hmm.", "Hey", 7)


def test_progress_is_kept() -> None:
    generation = Generation(REQUEST, MODEL)

    generation.feed(Loading(0.25))
    generation.feed(Reading(256, 300, 256))

    assert (generation.loaded, generation.reading) == (0.25, Reading(256, 300, 256))


def test_the_end_is_kept() -> None:
    done, failed = generation_in(State.DONE), generation_in(State.FAILED)

    assert (done.completion, done.error) == (COMPLETION, None)
    assert (failed.completion, failed.error) == (BROKEN.completion, BROKEN.error)


def test_its_repr_shows_where_it_stands() -> None:
    assert repr(generation_in(State.GENERATING)) == "<Generation 7 generating, 1 tokens>"


@pytest.mark.parametrize(
    ("events", "is_estimated"),
    [
        pytest.param([], False, id="nothing yet"),
        pytest.param([TextDelta("a", 1)], False, id="counted"),
        pytest.param([TextDelta("a", 1, estimated=True)], True, id="not counted"),
        pytest.param([ReasoningDelta("a", 1, estimated=True)], True, id="reasoning that was not counted"),
        pytest.param([ReasoningDelta("a", 1, estimated=True), TextDelta("b", 1)], True, id="counted from then on"),
        pytest.param([TextDelta("a", 1), TextDelta("b", 1, estimated=True)], True, id="counted so far"),
    ],
)
def test_one_guess_makes_the_sum_an_estimate(events: list[Event], is_estimated: bool) -> None:
    generation = Generation(REQUEST, MODEL)

    for event in events:
        generation.feed(event)

    assert generation.is_estimated is is_estimated


def clock(*times: float) -> Callable[[], float]:
    """A clock that shows TIMES, one after another, and must not be read more often."""
    return iter(times).__next__


def fed(*events: Event, times: tuple[float, ...] | None = None, request: Request = REQUEST) -> Generation:
    """A generation of EVENTS, the first one after the first of TIMES."""
    generation = Generation(request, MODEL, clock=clock(*times)) if times else Generation(request, MODEL)
    for event in events:
        generation.feed(event)
    return generation


def test_load_prefill_and_decode_are_timed_by_the_events() -> None:
    generation = fed(
        Pending(),
        Loading(1.0),
        Reading(10, 50, 10),
        Reading(50, 50, 10),
        TextDelta("Be", 1),
        TextDelta("cause", 3),
        times=(10, 10, 12, 13, 14, 14.5, 18, 20),
    )

    completion = generation.to_completion("stop")

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


def test_decode_ends_with_the_last_token_that_is_counted() -> None:
    generation = fed(Reading(3, 3), TextDelta("So", 1), TextDelta("", 0), times=(0, 1, 2, 9, 9))

    assert generation.to_completion("stop").stats.decode_seconds == 1


def test_without_reports_the_first_text_ends_the_prefill() -> None:
    generation = fed(Loading(1.0), ReasoningDelta("Hm.", 1), TextDelta("So", 1), times=(10, 12, 15, 16, 20))

    stats = generation.to_completion("stop").stats

    assert (stats.load_seconds, stats.prompt_seconds, stats.ttft_seconds, stats.decode_seconds) == (2, 3, 5, 1)


def test_a_prefill_that_was_reported_in_part_ends_with_the_first_text() -> None:
    generation = fed(Reading(0, 9), Reading(4, 9), TextDelta("So", 1), times=(0, 1, 2, 3, 4))

    assert generation.to_completion("stop").stats.prompt_seconds == 2


def test_a_prefill_ends_once() -> None:
    generation = fed(Reading(9, 9), Reading(9, 9), TextDelta("So", 1), times=(0, 1, 5, 6, 6))

    stats = generation.to_completion("stop").stats

    assert (stats.prompt_seconds, stats.decode_seconds) == (0, 5)


@pytest.mark.parametrize(
    ("counts", "tokens_per_second"),
    [
        pytest.param(Counts(), 0.5, id="nothing"),
        pytest.param(Counts(completion_tokens=9), 0.5, id="tokens alone"),
        pytest.param(Counts(completion_tokens=9, decode_seconds=3.0), 3, id="tokens and time"),
        pytest.param(Counts(completion_tokens=9, decode_seconds=3.0, timed_tokens=6), 2, id="all"),
    ],
)
def test_tokens_that_start_the_clock_are_not_timed_by_it(counts: Counts, tokens_per_second: float) -> None:
    generation = fed(TextDelta("Be", 7), TextDelta("cause", 2), times=(10, 11, 15, 15))
    generation.counts = counts

    assert generation.to_completion("stop").stats.tokens_per_second == tokens_per_second


def test_a_server_that_counts_more_cached_tokens_than_tokens_gives_no_rate() -> None:
    generation = fed(TextDelta("So", 1))
    generation.counts = Counts(prompt_tokens=5, cached_tokens=9, prompt_seconds=1.0)

    assert generation.to_completion("stop").stats.prompt_tokens_per_second == 0


def test_what_was_asked_is_in_the_completion() -> None:
    generation = fed()
    generation.engine_version = "llama 1"

    completion = generation.to_completion("stop")

    assert (completion.id, completion.model, completion.sampling) == ("7", MODEL, REQUEST.sampling)
    assert (completion.versions.localllm_magics, completion.versions.engine) == (__version__, "llama 1")
    assert completion.error is None


def test_a_stop_while_loading_has_no_counts() -> None:
    stats = fed(times=(10, 13)).to_completion("stopped").stats

    assert stats == Stats(total_seconds=3)
    assert (stats.tokens_per_second, stats.prompt_tokens_per_second) == (0, 0)


def test_a_stop_in_the_prefill_has_no_rate() -> None:
    stats = fed(Reading(0, 9), Reading(4, 9), times=(10, 11, 12, 15)).to_completion("stopped").stats

    assert stats == Stats(prompt_tokens=9, total_seconds=5)
    assert stats.prompt_tokens_per_second == 0


def test_an_error_is_kept_with_the_text_so_far() -> None:
    completion = fed(TextDelta("Beca", 2)).to_completion("error", StreamBroken("Gone.", "Try again."))

    assert (completion.text, completion.state) == ("Beca", "failed")
    assert completion.error is not None
    assert (completion.error.kind, completion.error.message, completion.error.hint) == (
        "stream_broken",
        "Gone.",
        "Try again.",
    )


def test_each_notice_is_given_once() -> None:
    generation = Generation(REQUEST, MODEL, notices=["Mind the step."])
    generation.notices += ["Slow.", "Mind the step."]

    assert generation.to_completion("stop").notices == ("Mind the step.", "Slow.")


def test_what_a_server_counted_replaces_what_we_counted() -> None:
    generation = fed(TextDelta("Because", 2, estimated=True), times=(10, 11, 15))
    generation.counts = Counts(
        prompt_tokens=50,
        cached_tokens=10,
        completion_tokens=4,
        load_seconds=0.5,
        prompt_seconds=0.25,
        decode_seconds=2.0,
        timed_tokens=3,
    )

    stats = generation.to_completion("stop").stats

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


def test_what_a_server_does_not_report_stays_ours() -> None:
    generation = fed(TextDelta("Be", 1, estimated=True), TextDelta("cause", 1, estimated=True), times=(10, 11, 14, 15))
    generation.counts = Counts(prompt_tokens=50)

    stats = generation.to_completion("stop").stats

    assert stats == Stats(
        prompt_tokens=50,
        completion_tokens=2,
        ttft_seconds=1,
        prompt_seconds=1,
        decode_seconds=3,
        total_seconds=5,
        estimated=True,
        timed_tokens=1,
    )


def test_a_count_of_nothing_is_a_count() -> None:
    generation = fed(TextDelta("", 7))
    generation.counts = Counts(completion_tokens=0)

    assert generation.to_completion("stop").stats.completion_tokens == 0


@pytest.mark.parametrize("events", [[], [ReasoningDelta("\n\n"), TextDelta("Yes")]], ids=["none", "an empty block"])
def test_without_reasoning_there_is_none(events: list[Event]) -> None:
    assert fed(*events).to_completion("stop").reasoning is None


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
    generation = fed(TextDelta(text), request=replace(REQUEST, schema={"type": "object"}))

    assert generation.to_completion("stop").value == value


@pytest.mark.parametrize("reason", ["length", "stopped", "error"])
def test_what_did_not_end_by_itself_has_no_value(reason: FinishReason) -> None:
    generation = fed(TextDelta("{}"), request=replace(REQUEST, schema={"type": "object"}))

    assert generation.to_completion(reason).value is None


def test_without_a_schema_json_is_text() -> None:
    completion = fed(TextDelta("{}")).to_completion("stop")

    assert (completion.text, completion.value) == ("{}", None)


@pytest.mark.parametrize(
    ("think", "reasoning", "text", "notice"),
    [
        pytest.param(False, "Hm", "So.", "The model reasoned all the same", id="unwanted"),
        pytest.param(False, "Hm", "", "The model reasoned all the same", id="unwanted, and no answer yet"),
        pytest.param(False, "\n", "So.", "", id="an empty block"),
        pytest.param(True, "", "So.", "No reasoning came with --think", id="missing"),
        pytest.param(True, "", "", "", id="not come so far"),
        pytest.param(True, "Hm", "So.", "", id="wanted"),
        pytest.param(None, "Hm", "So.", "", id="left to the model"),
    ],
)
def test_reasoning_that_is_not_as_it_was_asked_for_is_told(
    think: bool | None, reasoning: str, text: str, notice: str
) -> None:
    generation = Generation(replace(REQUEST, think=think), MODEL)
    generation.feed(ReasoningDelta(reasoning, 1))
    generation.feed(TextDelta(text, 1))

    notices = generation.to_completion("stopped").notices

    assert len(notices) == bool(notice)
    assert "".join(notices).startswith(notice)


def test_that_there_is_no_reasoning_is_told_once() -> None:
    generation = Generation(replace(REQUEST, think=True), MODEL, notices=["No switch: --think changed nothing."])
    generation.feed(TextDelta("So.", 1))

    assert generation.to_completion("stop").notices == ("No switch: --think changed nothing.",)
