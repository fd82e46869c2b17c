"""Until an answer in the background has come, its variable says so."""

import threading

import pytest

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import UsageError
from localllm_magics.core.events import TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.notebook.pending import PendingCompletion


@pytest.fixture
def generation() -> Generation:
    generation = Generation(Request(messages=to_messages("Why?")), ModelUsed(reference="scripted"))
    generation.feed(TextDelta("Hi.", 2))
    return generation


@pytest.fixture
def completion(generation: Generation) -> Completion:
    return generation.to_completion("stop")


def test_it_says_that_it_is_still_generating(generation: Generation) -> None:
    pending = PendingCompletion("first", generation)

    shown = "<first is still generating, 2 tokens so far: first.wait() waits for its end>"
    assert (repr(pending), str(pending), pending._repr_mimebundle_()) == (shown, shown, {"text/plain": shown})


@pytest.mark.parametrize("name", ["text", "stats", "to_json"])
def test_what_a_completion_has_is_not_there_yet(generation: Generation, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(PendingCompletion("first", generation), name)

    assert str(caught.value) == "first is still generating.\nTo wait for its end, type: first.wait()"


@pytest.mark.parametrize("name", ["shape", "_repr_html_", "__len__"])
def test_what_no_completion_has_is_never_there(generation: Generation, completion: Completion, name: str) -> None:
    pending = PendingCompletion("first", generation)

    before = hasattr(pending, name)
    pending.end(completion)

    assert (before, hasattr(pending, name)) == (False, False)


def test_it_is_like_the_completion_afterwards(generation: Generation, completion: Completion) -> None:
    pending = PendingCompletion("first", generation)

    pending.end(completion)

    assert (repr(pending), str(pending)) == (repr(completion), "Hi.")
    assert (pending.text, pending.state) == ("Hi.", "done")
    assert pending._repr_mimebundle_() == completion.to_bundle()
    assert pending.wait() is pending.wait(0) is completion


def test_a_wait_ends_with_the_answer(generation: Generation, completion: Completion) -> None:
    pending = PendingCompletion("first", generation)
    found: list[Completion] = []

    waiting = threading.Thread(target=lambda: found.append(pending.wait()))
    waiting.start()
    pending.end(completion)
    waiting.join()

    assert found == [completion]


def test_a_wait_may_have_a_limit(generation: Generation) -> None:
    with pytest.raises(UsageError, match="first is still generating"):
        PendingCompletion("first", generation).wait(0)
