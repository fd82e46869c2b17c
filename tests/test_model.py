import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.api import models
from localllm_magics.core.errors import SetupError, StreamBroken, UsageError
from localllm_magics.core.events import Done, Loading, Pending
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.base import Preview
from localllm_magics.engines.stream import Stream
from localllm_magics.model import Model
from localllm_magics.testing import ScriptedEngine

INFO = ModelInfo(reference="scripted", name="scripted", source="bundled")


def new_model(*answers: str, hangs_after: int | None = None) -> tuple[Model, ScriptedEngine]:
    engine = ScriptedEngine(*answers, hangs_after=hangs_after)
    return Model(engine, INFO), engine


def test_complete_answers() -> None:
    model, engine = new_model("So it is.")

    completion = model.complete("Why?", system="Be brief.", max_tokens=2, temperature=0, stop="END")

    assert completion.text == "So it"
    assert engine.requests[0].messages == to_messages("Why?", system="Be brief.")
    assert engine.requests[0].sampling == Sampling(max_tokens=2, temperature=0, stop=("END",))


def test_a_conversation_can_be_asked() -> None:
    model, engine = new_model("Yes.")

    model.complete([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}])

    assert engine.requests[0].messages == (
        Message.from_text("user", "Why?"),
        Message.from_text("assistant", "So."),
    )


def test_a_text_can_be_continued() -> None:
    model, engine = new_model("a time")

    model.complete("Once upon", raw=True)

    assert engine.requests[0].raw


def test_reasoning_and_a_schema_can_be_asked_for() -> None:
    model, engine = new_model('{"city": "Oslo"}')
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    completion = model.complete("Where?", think=False, schema=schema)

    assert (engine.requests[0].think, engine.requests[0].schema) == (False, schema)
    assert completion.value == {"city": "Oslo"}


def test_the_model_decides_about_reasoning() -> None:
    model, engine = new_model("Yes.")

    completion = model.complete("Why?")

    assert (engine.requests[0].think, engine.requests[0].schema, completion.value) == (None, None, None)


def test_stream_gives_events() -> None:
    model, _ = new_model("So it is.")

    with model.stream("Why?") as events:
        seen = list(events)

    assert seen[0] == Pending()
    assert isinstance(seen[-1], Done)


def test_complete_raises_what_went_wrong() -> None:
    model = Model(ScriptedEngine(StreamBroken("Gone.", "Again.")), INFO)

    with pytest.raises(StreamBroken, match="Gone"):
        model.complete("Why?")


def test_a_request_can_be_previewed() -> None:
    model, _ = new_model()

    assert model.preview(Request(messages=to_messages("Why not?"))).prompt == "Why not?"


def test_it_tells_what_it_is() -> None:
    model, engine = new_model()

    model.load()

    assert (model.info, model.path, model.status()) == (INFO, None, engine.status())
    assert (model.context, model.gpu_layers, model.memory_bytes) == (1024, None, 0)
    assert model.options == LoadOptions()
    assert repr(model) == "<Model scripted: script, context 1024>"


def test_a_load_can_be_watched() -> None:
    model, _ = new_model()
    seen: list[Loading] = []

    model.load(seen.append)

    assert seen == [Loading(1.0)]


def test_the_end_of_the_block_unloads() -> None:
    model, _ = new_model()

    with model:
        before = model.is_unloaded

    assert (before, model.is_unloaded) == (False, True)
    assert repr(model) == "<Model scripted: unloaded>"


def test_unloading_stops_what_runs() -> None:
    model, _ = new_model("one two", hangs_after=1)
    stream: Stream = model.stream("Why?")
    position = 0
    while position < 4:  # pending, loading, reading, text
        position = len(stream.since(0))

    model.unload()
    model.unload()

    assert stream.completion().finish_reason == "stopped"


class UnloadedMeanwhile(ScriptedEngine):
    """What an engine does when another thread unloads its model."""

    def load(self, stop: Stop) -> Iterator[Loading]:
        yield Loading(0.5)
        raise Stopped

    def preview(self, request: Request, stop: Stop) -> Preview:
        raise Stopped


def test_a_load_that_somebody_stopped_is_an_error() -> None:
    model = Model(UnloadedMeanwhile(), INFO)

    with pytest.raises(UsageError, match="The load of scripted was stopped"):
        model.load()
    with pytest.raises(UsageError, match="The preview was stopped"):
        model.preview(Request(messages=to_messages("Why?")))


def test_reloading_closes_the_engine_before(tmp_path: Path) -> None:
    model, _ = new_model("one two", hangs_after=1)
    stream = model.stream("Why?")

    model.reload(LoadOptions(ctx=512))

    assert stream.completion().finish_reason == "stopped"
    assert model.options == LoadOptions(ctx=512)


def test_a_model_that_is_released_stays_usable() -> None:
    model, engine = new_model("Yes.")

    is_released = model.release(model.activity.last_used, "it was idle")

    assert (is_released, model.is_unloaded, model.absence) == (True, False, "it was idle")
    assert model.complete("Why?").text == "Yes."
    assert engine.requests == []  # another one has answered


def test_a_model_in_use_is_not_released() -> None:
    model, _ = new_model("one two", hangs_after=1)
    with model.stream("Why?") as stream:
        is_released = model.release(model.activity.last_used, "it was idle")
        is_running = stream.is_running
        is_busy = model.activity.is_busy

    assert (is_released, is_running, is_busy, model.activity.is_busy) == (False, True, True, False)


def test_an_unloaded_model_is_not_released() -> None:
    model, _ = new_model("Yes.")
    model.unload()

    assert not model.release(model.activity.last_used, "it was idle")


def test_a_model_that_was_unloaded_meanwhile_is_not_loaded_again() -> None:
    model, _ = new_model("Yes.")
    model.unload()

    model.reload(LoadOptions(ctx=512))

    with pytest.raises(UsageError, match="scripted was unloaded"):
        model.complete("Why?")


def test_a_use_ends_before_its_stream_has_its_last_event() -> None:
    model, _ = new_model("Yes.")
    seen = []
    with model.stream("Why?") as stream:
        seen += [model.activity.is_busy for event in stream if isinstance(event, Done)]

    assert seen == [False]


def test_a_pinned_model_says_so() -> None:
    model, _ = new_model("Yes.")
    model.is_pinned = True

    assert repr(model) == "<Model scripted: script, context 1024, pinned>"


def test_too_few_threads_are_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = new_model("Yes.")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(SetupError, match="allows no more threads"):
        model.complete("Why?")
    assert not model.activity.is_busy
    assert [info.reference for info in models(source="bundled")] == ["demo"]  # searched without a thread
