"""A card is shown at once, grows by appending, and always ends."""

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from localllm_magics.core.completion import Completion, FinishReason, ModelUsed
from localllm_magics.core.errors import GenerationFailed, LocalLLMError, PromptTooLong
from localllm_magics.core.events import ProgressEvent, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.card import Card
from localllm_magics.notebook.card.status_line import to_plain
from localllm_magics.testing import ScriptedEngine


@dataclass
class Paper:
    """A surface that keeps what was drawn; interrupts can be made to come with it."""

    interrupts: int = 0
    shown: list[str] = field(default_factory=list)
    finished: list[Completion] = field(default_factory=list)
    has_errors: list[bool] = field(default_factory=list)

    def draw(self, generation: Generation) -> None:
        self.shown.append(to_plain(Progress.of(generation)))
        if self.interrupts and len(self.shown) > 1:
            self.interrupts -= 1
            raise KeyboardInterrupt

    def finish(self, completion: Completion, *, spell_error: bool) -> None:
        self.finished.append(completion)
        self.has_errors.append(spell_error)


class BreakingEngine(ScriptedEngine):
    """Breaks off after one word."""

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        yield TextDelta("one", 1)
        raise GenerationFailed("It broke.", "Type: again")


def new_generation() -> Generation:
    return Generation(Request(messages=to_messages("Hello")), ModelUsed(reference="scripted"))


def new_card(paper: Paper, generation: Generation, *, shows_error: bool = False) -> Card:
    card = Card(paper, generation, shows_error=shows_error)
    card.open()
    return card


def follow(engine: ScriptedEngine, paper: Paper, *, shows_error: bool = False) -> Completion:
    generation = new_generation()
    card = new_card(paper, generation, shows_error=shows_error)
    with Stream(engine, generation) as stream:
        return card.follow(stream)


def test_it_is_shown_before_anything_happens() -> None:
    paper = Paper()
    new_card(paper, new_generation())

    assert paper.shown == ["scripted · pending"]


def test_it_ends_with_the_completion() -> None:
    paper = Paper()
    completion = follow(ScriptedEngine("one two\n\nthree "), paper)

    assert completion.text == "one two\n\nthree "
    assert paper.finished == [completion]


def test_an_interrupt_keeps_the_text_and_ends_the_card() -> None:
    paper = Paper(interrupts=1)
    generation = new_generation()
    card = new_card(paper, generation)
    stream = Stream(ScriptedEngine("one two three", hangs_after=2), generation)

    with pytest.raises(KeyboardInterrupt), stream:
        card.follow(stream)

    assert card.completion is not None
    assert (card.completion.text, card.completion.state) == ("one two", "stopped")
    assert len(paper.finished) == 1


def test_impatient_interrupts_are_one_interrupt() -> None:
    paper = Paper(interrupts=3)
    generation = new_generation()
    card = new_card(paper, generation)
    stream = Stream(ScriptedEngine("one two three", hangs_after=2), generation)

    with pytest.raises(KeyboardInterrupt), stream:
        card.follow(stream)

    assert len(paper.finished) == 1


def test_an_interrupt_before_the_start_ends_the_card() -> None:
    paper = Paper()
    generation = new_generation()
    card = new_card(paper, generation)
    card.finish(generation.to_completion("stopped"))

    assert (card.completion and card.completion.state, len(paper.finished)) == ("stopped", 1)


def test_it_ends_once() -> None:
    paper = Paper()
    generation = new_generation()
    card = new_card(paper, generation)
    card.finish(generation.to_completion("stopped"))
    card.finish(generation.to_completion("error", PromptTooLong("Too long.")))

    assert (card.completion and card.completion.state, len(paper.finished)) == ("stopped", 1)


@pytest.mark.parametrize("shows_error", [False, True])
def test_a_failure_is_spelled_out_only_if_nobody_else_does(shows_error: bool) -> None:
    paper = Paper()
    error = PromptTooLong("Too long.", "Type: less")
    generation = new_generation()
    new_card(paper, generation, shows_error=shows_error).finish(generation.to_completion("error", error))

    assert paper.has_errors == [shows_error]


def test_a_failure_on_the_way_keeps_the_text() -> None:
    paper = Paper()
    completion = follow(BreakingEngine(), paper)

    assert (completion.text, completion.state) == ("one", "failed")
    assert len(paper.finished) == 1


def test_an_error_before_the_first_token_ends_the_card() -> None:
    paper = Paper()
    error: LocalLLMError = PromptTooLong("Too long.")
    completion = follow(ScriptedEngine(error), paper)

    assert completion.state == "failed"
    assert len(paper.finished) == 1


def test_its_repr_shows_the_state() -> None:
    generation = new_generation()

    assert repr(new_card(Paper(), generation)) == f"<Card of <Generation {generation.id} pending, 0 tokens>>"
