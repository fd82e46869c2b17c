from dataclasses import replace

import pytest

from localllm_magics.core.errors import IllegalTransition, StreamBroken
from localllm_magics.core.events import Done, Event, Failed, Loading, Pending, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import TRANSITIONS, Generation, State, target
from tests.core.test_events import COMPLETION

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
    generation = Generation("7")
    for event in WAYS[state]:
        generation.feed(event)
    return generation


def facts(generation: Generation) -> tuple[object, ...]:
    return (
        generation.state,
        generation.loaded,
        generation.read,
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


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_terminal_state_has_no_way_out(state: State) -> None:
    assert state.is_terminal == (state.value in {"done", "stopped", "failed"})
    assert state.is_terminal == (not TRANSITIONS[state])


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_names_the_state_it_leads_to(name: str) -> None:
    event, leads_to = EVENTS[name]

    assert target(event) is leads_to


def test_text_reasoning_and_tokens_add_up() -> None:
    generation = Generation("7")

    for event in (ReasoningDelta("Hm", 2), ReasoningDelta("m.", 1), TextDelta("He", 1), TextDelta("y", 3)):
        generation.feed(event)

    assert (generation.reasoning, generation.text, generation.tokens) == ("Hmm.", "Hey", 7)


def test_progress_is_kept() -> None:
    generation = Generation("7")

    generation.feed(Loading(0.25))
    generation.feed(Reading(256, 300, 256))

    assert (generation.loaded, generation.read) == (0.25, Reading(256, 300, 256))


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
    generation = Generation("7")

    for event in events:
        generation.feed(event)

    assert generation.is_estimated is is_estimated
