"""The engine for servers, through `Model`, on a real llama-server with the bundled model."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.core.errors import AccessDenied, BadOption, DaemonNotReachable, PromptTooLong, StreamBroken
from localllm_magics.core.events import Done, Event, Failed, Loading, Pending, Reading, TextDelta
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.model import Model
from tests.engines.openai.asking import ENDLESS, completion_of, error_of, events_of, model_at
from tests.server.llama_server import LlamaServer

QUESTION = "What is a token?"
LONG = " ".join(f"The cat number {number} sleeps." for number in range(70))
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
KEY = "a-very-secret-key"


@pytest.fixture
def model(llama_server: LlamaServer) -> Model:
    return model_at(llama_server.address)


def test_an_answer_has_the_text_and_the_counts_of_the_server(model: Model) -> None:
    *events, last = events_of(model, QUESTION, temperature=0.0, max_tokens=8)

    assert isinstance(last, Done)
    stats, deltas = last.completion.stats, [event for event in events if isinstance(event, TextDelta)]
    assert last.completion.text == "".join(event.text for event in deltas) != ""
    assert stats.completion_tokens == sum(event.tokens for event in deltas) == 8
    assert not any(event.estimated for event in deltas)
    assert not stats.estimated
    assert stats.prompt_tokens > 0
    assert stats.prompt_seconds > 0
    assert stats.decode_seconds > 0
    assert stats.tokens_per_second == pytest.approx(7 / stats.decode_seconds)
    assert last.completion.finish_reason == "length"


def test_the_completion_tells_server_model_and_sampling(model: Model) -> None:
    completion = completion_of(model, max_tokens=1)

    assert completion.versions.engine.startswith("llama-server b")
    used = completion.model
    assert (used.name, used.context, used.quantization, used.engine) == ("demo.gguf", 1024, "Q8_0", "openai")
    sampling = completion.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.95, 0.05)
    assert sampling.seed is not None


def test_the_same_seed_gives_the_same_text(model: Model) -> None:
    first = completion_of(model, seed=5, max_tokens=12)

    assert completion_of(model, seed=first.sampling.seed, max_tokens=12).text == first.text


def test_a_long_prompt_is_read_step_by_step(demo_gguf: Path) -> None:
    with LlamaServer(demo_gguf, "-c", "1024", "-np", "1", "-b", "64", "-ub", "64") as server:
        events = events_of(model_at(server.address), LONG, max_tokens=2)

    steps = [event for event in events if isinstance(event, Reading)]
    done = [step.done for step in steps]
    assert len(steps) > 3
    assert done == sorted(done)
    assert {step.total for step in steps} == {steps[-1].done}
    assert isinstance(events[-1], Done)
    assert events[-1].completion.stats.prompt_tokens == steps[-1].total


def test_a_prompt_from_the_cache_is_told(model: Model) -> None:
    completion_of(model, max_tokens=1)

    stats = completion_of(model, max_tokens=1).stats

    assert 0 < stats.cached_tokens < stats.prompt_tokens


def test_a_stop_in_the_answer_keeps_the_text_and_frees_the_slot(model: Model, llama_server: LlamaServer) -> None:
    with model.stream("Go on.", temperature=1.5, seed=1, schema=ENDLESS) as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                stream.stop()
        completion = stream.completion()
    llama_server.wait_until_idle()

    assert completion.finish_reason == "stopped"
    assert completion.text != ""


def test_a_stop_while_the_prompt_is_read_frees_the_slot(demo_gguf: Path) -> None:
    with LlamaServer(demo_gguf, "-c", "1024", "-np", "1", "-b", "8", "-ub", "8") as server:
        model = model_at(server.address)
        with model.stream(LONG, max_tokens=500) as stream:
            for event in stream:
                if isinstance(event, Reading):
                    stream.stop()
            completion = stream.completion()
        server.wait_until_idle()

    assert completion.finish_reason == "stopped"


def test_a_prompt_that_is_too_long_is_told_with_its_size(model: Model) -> None:
    error = error_of(model, LONG * 3)

    assert isinstance(error, PromptTooLong)
    assert "the context of demo.gguf holds 1,024" in error.message
    assert "raise the context: llama-server -c " in error.hint


def test_plain_text_is_continued(model: Model) -> None:
    completion = completion_of(model, "The fox", raw=True, temperature=0.0, max_tokens=5)

    assert (completion.stats.completion_tokens, completion.finish_reason) == (5, "length")
    assert completion.stats.prompt_tokens < 5


@pytest.mark.parametrize("raw", [False, True], ids=["chat", "plain text"])
def test_a_schema_binds_the_answer(model: Model, raw: bool) -> None:
    completion = completion_of(model, schema=SCHEMA, raw=raw, seed=1, max_tokens=60)

    assert isinstance(completion.value, dict)
    assert list(completion.value) == ["age"]


def test_a_schema_that_is_none_is_refused(model: Model) -> None:
    assert isinstance(error_of(model, schema={"type": "nonsense"}), BadOption)


def test_a_preview_has_the_prompt_and_its_tokens(model: Model) -> None:
    request = Request(messages=(Message.from_text("user", QUESTION),))

    preview = model.preview(request)

    assert preview.prompt.startswith("<|im_start|>user\nWhat is a token?")
    assert len(preview.tokens) == completion_of(model, QUESTION, max_tokens=1).stats.prompt_tokens
    assert "".join(text for _, text in preview.tokens) == preview.prompt
    assert preview.context == 1024
    assert preview.sampling.top_k == 40
    assert json.loads(preview.sent)["messages"] == [{"role": "user", "content": QUESTION}]


def test_a_preview_of_plain_text_is_that_text(model: Model) -> None:
    preview = model.preview(Request(messages=to_messages("The fox"), raw=True))

    assert preview.prompt == "The fox"
    assert "".join(text for _, text in preview.tokens) == "The fox"


def test_another_name_is_noticed_and_answered(llama_server: LlamaServer) -> None:
    completion = completion_of(model_at(llama_server.address, "llama3"), max_tokens=2)

    assert completion.notices == ("llama3 was asked for; the server has demo.gguf.",)


def test_load_options_are_refused(llama_server: LlamaServer) -> None:
    error = error_of(model_at(llama_server.address, options=LoadOptions(ctx=512)))

    assert isinstance(error, BadOption)
    assert error.hint == "Leave --ctx 512 out, or start the server with others."


def test_two_questions_at_once_are_answered(model: Model) -> None:
    first, second = (model.stream(QUESTION, max_tokens=8, seed=seed) for seed in (1, 2))

    with first, second:
        completions = [first.completion(), second.completion()]

    assert [completion.stats.completion_tokens for completion in completions] == [8, 8]


@pytest.fixture(scope="module")
def locked() -> Iterator[LlamaServer]:
    demo = Path(__file__).parents[2] / "localllm_magics" / "demo" / "demo.gguf"
    with LlamaServer(demo, "-c", "256", "-np", "1", "--api-key", KEY) as server:
        yield server


def test_without_its_key_a_server_refuses(locked: LlamaServer) -> None:
    error = error_of(model_at(locked.address))

    assert isinstance(error, AccessDenied)
    assert error.hint == 'Set the key in a terminal before Jupyter starts: export LOCALLLM_API_KEY="…"'


@pytest.mark.parametrize("key", [KEY, "a-wrong-key"], ids=["right", "wrong"])
def test_a_key_is_used_and_never_shown(
    locked: LlamaServer, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", key)
    caplog.set_level("DEBUG")
    model = model_at(locked.address)

    *events, last = events_of(model, QUESTION, max_tokens=2)

    assert isinstance(last, Done if key == KEY else Failed)
    shown = [repr((events, last)), repr(model), repr(vars(model)), caplog.text]
    shown += [json.dumps(last.completion.to_json()), repr(last.completion.to_bundle()), repr(model.status())]
    assert key not in "".join(shown)


def test_a_server_that_still_loads_is_waited_for(demo_gguf: Path) -> None:
    with LlamaServer(demo_gguf, "-c", "256", "-np", "1") as server:
        model = model_at(server.address)
        server.stop()
        assert isinstance(error_of(model), DaemonNotReachable)
        server.start()
        last: Event = Pending()
        while not isinstance(last, Done):
            *events, last = events_of(model, QUESTION, max_tokens=2)
            assert isinstance(last, Done) or isinstance(last.error, DaemonNotReachable)  # type: ignore[union-attr]

    assert isinstance(last, Done)
    assert all(isinstance(event, Pending | Loading | Reading | TextDelta) for event in events)


def test_a_server_that_came_back_between_two_questions_answers(demo_gguf: Path) -> None:
    with LlamaServer(demo_gguf, "-c", "256", "-np", "1") as server:
        model = model_at(server.address)
        completion_of(model, max_tokens=2)
        server.kill()
        server.restart()

        assert completion_of(model, max_tokens=2).finish_reason == "length"


def test_a_server_that_dies_in_its_answer_leaves_the_text(demo_gguf: Path) -> None:
    with LlamaServer(demo_gguf, "-c", "1024", "-np", "1", "--context-shift") as server:
        model = model_at(server.address)
        with model.stream("Go on.", temperature=1.5, seed=1, schema=ENDLESS) as stream:
            events = iter(stream)
            next(event for event in events if isinstance(event, TextDelta))
            server.kill()
            *_, last = events

    assert isinstance(last, Failed)
    assert isinstance(last.error, StreamBroken)
    assert last.completion.text != ""


def test_unloading_stops_an_answer_and_leaves_the_server(model: Model, llama_server: LlamaServer) -> None:
    with model.stream("Go on.", temperature=1.5, seed=1, schema=ENDLESS) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        model.unload()
        completion = stream.completion()
    llama_server.wait_until_idle()

    assert completion.finish_reason == "stopped"
    assert llama_server.is_running


def test_no_thread_is_left(model: Model) -> None:
    completion_of(model, max_tokens=2)

    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("localllm")]
