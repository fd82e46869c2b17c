from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from localllm_magics.core.completion import Completion, ModelUsed, Versions
from localllm_magics.core.errors import StreamBroken
from localllm_magics.core.events import (
    Done,
    Event,
    Failed,
    Loading,
    Pending,
    Reading,
    ReasoningDelta,
    Terminal,
    TextDelta,
)

COMPLETION = Completion(
    id="1",
    text="Hi",
    finish_reason="stop",
    model=ModelUsed(reference="demo"),
    versions=Versions(localllm_magics="0", engine=""),
)
EVENTS: list[Event] = [
    Pending(),
    Loading(0.5),
    Reading(1, 2),
    TextDelta("Hi"),
    ReasoningDelta("Hm"),
    Done(COMPLETION),
    Failed(StreamBroken("Gone."), COMPLETION),
]


def test_these_are_all_events() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


def test_two_of_them_are_terminal() -> None:
    assert set(get_args(Terminal)) == {Done, Failed}


@pytest.mark.parametrize("event", EVENTS[1:], ids=lambda event: type(event).__name__)
def test_an_event_cannot_be_changed(event: Event) -> None:
    name = fields(event)[0].name

    with pytest.raises(FrozenInstanceError):
        setattr(event, name, None)


def test_events_are_equal_by_content() -> None:
    assert TextDelta("Hi") == TextDelta("Hi", tokens=1)
    assert Reading(1, 2) == Reading(1, 2, cached=0)
    assert len({TextDelta("Hi"), ReasoningDelta("Hi"), TextDelta("Hi")}) == 2
