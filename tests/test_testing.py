from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from localllm_magics import testing
from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import BadOption, StreamBroken
from localllm_magics.core.events import Done, Loading, Pending, Reading, TextDelta
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine, scripted_model, write_sparse_model
from tests.engines.generations import generation_of


def test_it_says_what_it_was_told_one_word_a_token() -> None:
    with scripted_model("So it is.\n") as model, model.stream("Why then?", seed=1) as stream:
        events = list(stream)

    completion = stream.completion()
    assert events == [
        Pending(),
        Loading(1.0),
        Reading(2, 2),
        TextDelta("So"),
        TextDelta(" it"),
        TextDelta(" is."),
        TextDelta("\n"),
        Done(completion),
    ]
    assert completion.sampling == Sampling(seed=1).or_else(LLAMA_CPP_SAMPLING)
    assert (completion.model.engine, completion.stats.completion_tokens) == ("scripted", 4)


def test_answers_follow_each_other_and_the_last_repeats() -> None:
    with scripted_model("one", "two") as model:
        texts = [model.complete("Next?").text for _ in range(4)]

    assert texts == ["one", "two", "two", "two"]


def test_without_answers_it_says_nothing() -> None:
    with scripted_model() as model:
        completion = model.complete("Why?")

    assert (completion.text, completion.finish_reason) == ("", "stop")


def test_an_error_is_an_answer_too() -> None:
    with scripted_model(StreamBroken("Gone."), "Back.") as model:
        with pytest.raises(StreamBroken):
            model.complete("Why?")

        assert model.complete("Why?").text == "Back."


@pytest.mark.parametrize(
    ("limit", "text", "reason"),
    [(1, "one", "length"), (2, "one two", "length"), (3, "one two three", "stop"), (4, "one two three", "stop")],
)
def test_a_limit_is_kept(limit: int, text: str, reason: str) -> None:
    with scripted_model("one two three") as model:
        completion = model.complete("Count.", max_tokens=limit)

    assert (completion.text, completion.finish_reason) == (text, reason)


@pytest.mark.parametrize(
    ("stop", "text", "tokens"),
    [("b", "a ", 2), ("b c", "a ", 3), ("c x", "a b c", 3), ("z", "a b c", 3)],
    ids=["a word", "two words", "a part at the end", "another"],
)
def test_a_stop_text_ends_the_answer(stop: str, text: str, tokens: int) -> None:
    with scripted_model("a b c") as model:
        completion = model.complete("Go.", stop=stop)

    assert (completion.text, completion.finish_reason) == (text, "stop")
    assert completion.stats.completion_tokens == tokens


def test_it_can_hang_until_it_is_stopped() -> None:
    with scripted_model("one two three", hangs_after=2) as model, model.stream("Count.") as stream:
        ended = stream.wait(0)
        stream.stop()

        assert not ended
        assert stream.completion().finish_reason == "stopped"


def test_a_stop_before_the_start_is_seen() -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        next(ScriptedEngine("one").stream(generation_of(), stop))


def test_the_requests_can_be_looked_at() -> None:
    engine = ScriptedEngine("one")
    generation = generation_of()

    list(engine.stream(generation, Stop()))

    assert engine.requests == [generation.request]
    assert engine.preview(generation.request, Stop()).tokens == ((0, "Why?"),)


def test_the_session_knows_it_until_the_block_ends() -> None:
    with scripted_model("Hi", reference="parrot") as model:
        inside = (default_session().current, default_session().models)

    assert inside == (model, (model,))
    assert (default_session().current, default_session().models) == (None, ())


def test_a_model_may_be_unloaded_inside_the_block() -> None:
    with scripted_model("Hi") as model:
        model.unload()

    assert default_session().models == ()


def test_the_end_of_the_block_ends_what_hangs() -> None:
    with scripted_model("one two", hangs_after=1) as model:
        stream = model.stream("Why?")
        while TextDelta("one") not in stream.since(0):
            pass

    assert stream.completion().finish_reason == "stopped"


def test_the_docstring_tells_the_truth() -> None:
    source = dedent((testing.__doc__ or "").partition("\n\n")[2])

    exec(source, {})  # noqa: S102 - it is our own


def test_a_sparse_model_has_the_sizes_that_were_asked_for_and_takes_no_disk(tmp_path: Path) -> None:
    path = tmp_path / "8b.gguf"

    size = write_sparse_model(path)

    info = describe_file(path, reference="8b", source="folder")
    assert (info.layers, info.quantization, info.context, info.kind) == (32, "Q4_0", 131_072, "base")
    assert path.stat().st_size == info.size_bytes == size
    assert 4e9 < size < 5e9
    assert path.stat().st_blocks * 512 < 1_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"quantization": "Q99_Z"}, "Matrices have no type 'Q99_Z'", id="unknown"),
        pytest.param({"quantization": "I32"}, "Matrices have no type 'I32'", id="of no matrix"),
        pytest.param({"width": 100}, "A matrix of Q4_0 cannot be 100 wide", id="width"),
        pytest.param({"inner_width": 1000}, "A matrix of Q4_0 cannot be 1000 wide", id="inner width"),
    ],
)
def test_a_sparse_model_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        write_sparse_model(tmp_path / "x.gguf", **options)

    assert not list(tmp_path.iterdir())
