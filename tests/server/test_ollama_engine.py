"""The engine with a server that loads, answers, and dies as Ollama does."""

import threading
from pathlib import Path

import pytest

from localllm_magics.core.errors import (
    BadOption,
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    ModelNotInDaemon,
    PromptTooLong,
    StreamBroken,
)
from localllm_magics.core.events import Done, Failed, Loading, TextDelta
from localllm_magics.core.request import GpuLayers, LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.stream import Stream
from localllm_magics.model import Model
from tests.engines.ollama.asking import bodies, engine_of, model_of
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.waiting import wait_until

CHAT, GENERATE = "/api/chat", "/api/generate"
LONG = "word " * 900
ONE_THREAD = LoadOptions(threads=1)  # the fastest for so small a model, on a machine that does other things too


@pytest.fixture
def model(stand_in: OllamaStandIn) -> Model:
    return model_of(stand_in, options=ONE_THREAD)


def wait_for_text(stream: Stream) -> None:
    wait_until(lambda: any(isinstance(event, TextDelta) for event in stream.since(0)), "text")


def unloads(stand_in: OllamaStandIn) -> int:
    return sum(body.get("keep_alive") == 0 for body in bodies(stand_in, GENERATE))


def test_a_question_is_answered(model: Model, stand_in: OllamaStandIn) -> None:
    completion = model.complete("What is a token?", temperature=0)

    assert completion.text.startswith("A token is a word")
    assert completion.finish_reason == "stop"
    assert completion.model.device == "CPU"
    assert (completion.model.context, completion.model.gpu_layers) == (1024, 0)
    assert completion.versions.engine == "Ollama 0.33.0"
    stats = completion.stats
    assert stats.prompt_tokens > 5
    assert min(stats.load_seconds, stats.prompt_seconds, stats.decode_seconds) > 0
    assert stats.tokens_per_second == (stats.completion_tokens - 1) / stats.decode_seconds
    assert stats.total_seconds >= stats.ttft_seconds >= stats.load_seconds
    assert len(stand_in.loads) == 1


def test_answers_of_all_kinds_load_the_model_once(model: Model, stand_in: OllamaStandIn) -> None:
    seen: list[object] = []
    model.load(seen.append)
    answers = [model.complete("Why?", max_tokens=3), model.complete("Once upon a time", raw=True, max_tokens=3)]
    again = model.complete("Why?", max_tokens=3, seed=1)
    model.load()

    assert seen[0] == Loading(0.0)
    assert seen[-1] == Loading(1.0)
    assert all(answer.finish_reason == "length" and answer.stats.completion_tokens == 3 for answer in answers)
    assert again.stats.prompt_tokens_per_second == 0.0  # the server does not tell what it had in its cache
    assert len(stand_in.loads) == 1


def test_a_schema_is_followed(model: Model) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    text = model.complete("Answer.", schema=schema).text

    assert text.replace(" ", "").replace("\n", "") in ('{"a":true}', '{"a":false}')


def test_loading_is_reported_until_the_model_is_there(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 1.5

    with model.stream("Why?", max_tokens=2) as stream:
        events = list(stream)

    kinds = [type(event).__name__ for event in events]
    assert Loading(0.0) in events
    assert kinds.index("Loading") < kinds.index("TextDelta")
    assert isinstance(events[-1], Done)
    assert events[-1].completion.stats.load_seconds >= 1.0


def test_a_load_alone_tells_how_it_goes(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 1.0
    seen: list[object] = []

    model.load(seen.append)

    assert sorted(set(seen), key=seen.index) == [Loading(0.0), Loading(1.0)]
    assert seen.count(Loading(1.0)) == 1
    assert bodies(stand_in, GENERATE) == [
        {"model": "demo", "stream": False, "options": {"num_ctx": 1024, "num_thread": 1}}
    ]
    assert (model.context, len(stand_in.loads)) == (1024, 1)


@pytest.mark.parametrize(
    ("share", "device", "gpu_layers"), [(0.59, "41% CPU, 59% GPU", None), (1.0, "GPU", None), (0.0, "CPU", 0)]
)
def test_the_place_is_told(
    share: float, device: str, gpu_layers: int | None, model: Model, stand_in: OllamaStandIn
) -> None:
    stand_in.vram_share = share

    model.load()

    used = model.status().model
    assert (used.device, used.gpu_layers) == (device, gpu_layers)
    assert (model.memory_bytes > 0) == (share > 0)  # without a GPU the server does not know


@pytest.mark.parametrize(("asked", "words"), [("all", "All layers"), (1, "1 layer"), (2, "2 layers")])
def test_layers_that_went_nowhere_are_noticed(asked: GpuLayers, words: str, stand_in: OllamaStandIn) -> None:
    model = model_of(stand_in, options=LoadOptions(gpu_layers=asked))

    completion = model.complete("Why?", max_tokens=1)

    assert completion.notices == (f"{words} asked, 0 on a GPU: Ollama placed demo on the CPU.",)
    assert "0 on a GPU" in completion.to_plain()


def test_a_refreshed_status_has_what_has_changed(model: Model, stand_in: OllamaStandIn) -> None:
    before = model.status(refresh=True)
    other = model_of(stand_in)
    other.load()
    between = model.status(refresh=True)
    other.unload()
    wait_until(lambda: not _is_loaded(stand_in), "unloaded")
    after = model.status(refresh=True)

    assert [status.model.device for status in (before, between, after)] == [None, "CPU", None]
    name = model.info.reference
    assert before.detail == f"{name} is not in Ollama's memory now; it is loaded with the next question."
    assert between.detail.startswith(f"{name} is on the CPU; Ollama keeps it in memory until ")
    assert after.detail == before.detail


def test_only_what_was_used_is_unloaded(model: Model, stand_in: OllamaStandIn) -> None:
    other = model_of(stand_in)
    other.load()

    model.status(refresh=True)
    model.unload()
    after_first = unloads(stand_in)
    other.unload()
    other.unload()

    assert (after_first, unloads(stand_in)) == (0, 1)
    wait_until(lambda: other.memory_bytes == 0 and not _is_loaded(stand_in), "unloaded")


def test_other_options_load_the_model_anew(model: Model, stand_in: OllamaStandIn) -> None:
    model.complete("Why?", max_tokens=1)
    model.reload(LoadOptions(ctx=512, gpu_layers=0, threads=2))
    model.complete("Why?", max_tokens=1)

    assert [(load.num_ctx, load.num_gpu, load.num_thread) for load in stand_in.loads] == [(1024, -1, 1), (512, 0, 2)]
    assert (model.context, model.options.ctx) == (512, 512)
    assert model.memory_bytes > 0


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        pytest.param(LoadOptions(cpu_moe="all"), "Leave --cpu-moe out.", id="experts"),
        pytest.param(LoadOptions(kv_type="q8_0"), "Leave --kv-type out, and start Ollama with OLLAMA_KV", id="cache"),
    ],
)
def test_what_ollama_decides_itself_is_refused(model: Model, options: LoadOptions, hint: str) -> None:
    with pytest.raises(BadOption) as caught:
        model.reload(options)

    assert caught.value.hint.startswith(hint)
    model.reload(LoadOptions(force=True))


def test_a_stop_while_the_model_loads_is_quick(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 60

    with model.stream("Why?") as stream:
        wait_until(lambda: bool(bodies(stand_in)), "asked")
        stream.stop()
        completion = stream.completion()

    assert (completion.state, completion.text) == ("stopped", "")
    assert stand_in.client_left.wait(60)
    stand_in.load_seconds = 0
    assert model.complete("Why?", max_tokens=1).stats.completion_tokens == 1


def test_an_engine_shows_what_it_runs(model: Model, stand_in: OllamaStandIn) -> None:
    assert repr(engine_of(stand_in)) == f"<OllamaEngine demo at {stand_in.address}>"
    assert repr(model) == f"<Model ollama:demo@{stand_in.address}: not loaded, context None>"


def test_a_load_that_is_stopped_ends(stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 60
    stop = Stop()
    events: list[object] = []
    engine = engine_of(stand_in)

    def load() -> None:
        with pytest.raises(Stopped):
            events.extend(engine.load(stop))

    worker = threading.Thread(target=load)
    worker.start()
    wait_until(lambda: bool(bodies(stand_in, GENERATE)), "asked")
    stop.set()
    worker.join(60)

    assert not worker.is_alive()
    assert Loading(1.0) not in events
    assert stand_in.client_left.wait(60)
    engine.close()
    assert unloads(stand_in) == 1  # the server may have gone on loading


def test_a_stop_while_the_prompt_is_read_makes_the_slot_free(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    model.load()

    with model.stream(LONG) as stream:
        wait_until(lambda: stand_in.upstream_slots_busy() == 1, "busy")
        stream.stop()
        completion = stream.completion()

    assert completion.state == "stopped"
    wait_until(lambda: stand_in.upstream_slots_busy() == 0, "idle")


def test_a_stop_in_the_middle_keeps_the_text(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with model.stream("Tell me a story.") as stream:
        wait_for_text(stream)
        stream.stop()
        *_, last = stream

    assert isinstance(last, Done)
    assert last.completion.state == "stopped"
    assert last.completion.text == "".join(event.text for event in stream if isinstance(event, TextDelta))
    assert last.completion.stats.estimated
    wait_until(lambda: stand_in.upstream_slots_busy() == 0, "idle")
    stand_in.is_endless = False
    assert model.complete("What is a token?", temperature=0).text.startswith("A token")
    assert len(stand_in.loads) == 1


def test_closing_stops_what_runs(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with model.stream("Tell me a story.") as stream:
        wait_for_text(stream)
        model.unload()
        completion = stream.completion()

    assert completion.state == "stopped"
    wait_until(lambda: not _is_loaded(stand_in), "unloaded")


def test_two_at_once_are_both_answered(model: Model, stand_in: OllamaStandIn) -> None:
    with model.stream("Why?", max_tokens=20) as one, model.stream("How?", max_tokens=20) as other:
        completions = [one.completion(), other.completion()]

    assert [completion.state for completion in completions] == ["done", "done"]
    assert all(completion.text for completion in completions)
    assert len(stand_in.loads) == 1


def test_an_engine_that_dies_in_the_middle_keeps_the_text(model: Model, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with model.stream("Tell me a story.") as stream:
        wait_for_text(stream)
        stand_in.kill_engine()
        *_, last = stream

    assert isinstance(last, Failed)
    assert "unexpected EOF" in last.error.message
    assert last.completion.text
    with pytest.raises(StreamBroken) as caught:
        stream.completion()
    assert caught.value.partial_text == last.completion.text
    stand_in.is_endless = False
    assert model.complete("Why?", max_tokens=1).state == "done"


def test_an_overlong_prompt_is_refused_with_both_sizes(stand_in: OllamaStandIn) -> None:
    model = model_of(stand_in, options=LoadOptions(ctx=256))

    with pytest.raises(PromptTooLong) as caught:
        model.complete(LONG)

    assert "256" in caught.value.message
    assert "--ctx" in caught.value.hint


def test_a_missing_model_is_told(stand_in: OllamaStandIn) -> None:
    model = model_of(stand_in, "nothing")

    with pytest.raises(ModelNotInDaemon) as caught:
        model.load()
    with pytest.raises(ModelNotInDaemon):
        model.complete("Why?")

    assert caught.value.hint == f"Type: %llm pull ollama:nothing@{stand_in.address}"


@pytest.mark.parametrize(
    ("name", "error"), [pytest.param("bad", LoadFailed, id="no model"), pytest.param("odd", LocalLLMError, id="odd")]
)
def test_a_model_that_does_not_load_is_told(
    name: str, error: type[LocalLLMError], stand_in: OllamaStandIn, tmp_path: Path, demo_gguf: Path
) -> None:
    data = b"no model" if name == "bad" else demo_gguf.read_bytes().replace(b"llama", b"nllma")
    (tmp_path / "x.gguf").write_bytes(data)
    stand_in.store(name, tmp_path / "x.gguf")
    model = model_of(stand_in, name)

    with pytest.raises(error) as at_load:
        model.load()
    with pytest.raises(error) as at_answer:
        model.complete("Why?")

    assert name in at_load.value.message
    assert at_load.value.message == at_answer.value.message
    assert not isinstance(at_load.value, EngineCrashed)


def _is_loaded(stand_in: OllamaStandIn) -> bool:
    return model_of(stand_in).status(refresh=True).model.device is not None
