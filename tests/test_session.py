import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localllm_magics import demo, session
from localllm_magics.core.errors import (
    BadOption,
    LoadFailed,
    ModelNotFound,
    PromptTooLong,
)
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from localllm_magics.session import Session, changed_options, default_session
from localllm_magics.testing import ScriptedEngine

ANY = LoadOptions()
ROOT = Path(__file__).parents[1]


def scripted(reference: str, *answers: str, hangs_after: int | None = None) -> Model:
    engine = ScriptedEngine(*answers, reference=reference, hangs_after=hangs_after)
    return Model(engine, ModelInfo(reference=reference, name=f"The {reference}", source="bundled"))


def ask(text: str = "Why?") -> Request:
    return Request(messages=to_messages(text))


def test_at_first_there_is_nothing(new_session: Session) -> None:
    assert (new_session.current, new_session.models, new_session.running) == (None, (), ())
    assert repr(new_session) == "<Session (), 0 running>"


def test_without_a_reference_the_default_is_used(new_session: Session) -> None:
    model = new_session.use(None, ANY)

    assert (model.info.reference, new_session.current, new_session.models) == ("demo", model, (model,))


def test_another_default_can_be_given(new_session: Session, folder: Path) -> None:
    assert new_session.use(None, ANY, default="mine.gguf").path == folder / "mine.gguf"


def test_without_a_reference_the_current_model_is_used(new_session: Session) -> None:
    new_session.add(scripted("one"))
    second = scripted("two")
    new_session.add(second)

    assert new_session.use(None, ANY, default="nothing.gguf") is second


def test_a_reference_that_is_in_use_names_the_same_model(new_session: Session) -> None:
    first = scripted("one")
    new_session.add(first)
    new_session.add(scripted("two"))

    model = new_session.use("one", ANY)

    assert (model, new_session.current, len(new_session.models)) == (first, first, 2)


@pytest.mark.parametrize("reference", ["mine.gguf", "./mine.gguf", "mine", "min"])
def test_any_way_to_write_a_file_names_the_same_model(new_session: Session, folder: Path, reference: str) -> None:
    first = new_session.use(str(folder / "mine.gguf"), ANY)

    assert new_session.use(reference, ANY) is first


def test_an_unknown_reference_changes_nothing(new_session: Session, folder: Path) -> None:
    model = new_session.use("demo", ANY)

    with pytest.raises(ModelNotFound):
        new_session.use("nothing.gguf", ANY)

    assert (new_session.current, new_session.models) == (model, (model,))


def test_another_load_option_loads_the_same_model_anew(new_session: Session) -> None:
    model = new_session.use("demo", LoadOptions(ctx=512))
    model.load()

    again = new_session.use("demo", LoadOptions(threads=1))

    assert again is model
    assert (model.options, model.context) == (LoadOptions(ctx=512, threads=1), None)
    assert (new_session.is_reloading(model), new_session.models) == (True, (model,))
    assert model.complete("Why?", max_tokens=2).model.context == 512


@pytest.mark.parametrize("options", [ANY, LoadOptions(ctx=256), LoadOptions(gpu_layers=0)], ids=["none", "ctx", "cpu"])
def test_what_a_model_in_memory_has_anyway_loads_nothing_anew(new_session: Session, options: LoadOptions) -> None:
    model = new_session.use("demo", LoadOptions(ctx=256, gpu_layers="auto"))
    model.load()

    new_session.use("demo", options)

    assert (new_session.is_reloading(model), model.context) == (False, 256)


def test_a_file_of_the_same_name_elsewhere_is_another_model(
    new_session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_session.use("mine.gguf", ANY)
    (folder / "other").mkdir()
    shutil.copy(demo.PATH, folder / "other" / "mine.gguf")

    monkeypatch.chdir(folder / "other")
    second = new_session.use("mine.gguf", ANY)
    (folder / "other" / "mine.gguf").unlink()
    new_session.unload()

    assert (first.path, second.path) == (folder / "mine.gguf", folder / "other" / "mine.gguf")


def test_a_model_in_use_is_known_by_its_name_in_another_folder(
    new_session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = new_session.use("mine.gguf", ANY)
    (folder / "other").mkdir()

    monkeypatch.chdir(folder / "other")

    assert new_session.use("mine.gguf", ANY) is model


def test_what_cannot_be_loaded_leaves_the_model_before_it(new_session: Session, folder: Path) -> None:
    good, bad = new_session.use("demo", ANY), new_session.use("mine.gguf", ANY)

    new_session.drop(bad, LoadFailed("No."))

    assert (new_session.current, new_session.models, bad.is_unloaded) == (good, (good,), True)


def test_what_cannot_be_loaded_with_an_option_is_used_without_it(new_session: Session) -> None:
    model = new_session.use("demo", LoadOptions(ctx=256))
    new_session.use("demo", LoadOptions(ctx=2**30))

    new_session.drop(model, LoadFailed("No."))

    assert (new_session.current, model.options, model.is_unloaded) == (model, LoadOptions(ctx=256), False)


def test_a_model_that_is_not_in_memory_is_dropped(new_session: Session) -> None:
    model = new_session.use("demo", ANY)

    new_session.drop(model, LoadFailed("No."))

    assert (new_session.models, new_session.current) == ((), None)


def test_a_model_that_is_in_memory_is_not_dropped(new_session: Session) -> None:
    model = scripted("one")
    new_session.add(model)

    new_session.drop(model, PromptTooLong("Long."))

    assert new_session.current is model


def test_without_a_model_before_it_nothing_is_left(new_session: Session) -> None:
    bad = new_session.use("demo", ANY)
    new_session.use("demo", ANY)

    new_session.drop(bad, LoadFailed("No."))

    assert (new_session.current, new_session.models) == (None, ())


@pytest.mark.parametrize("reference", [5, None, b"demo"], ids=["number", "none", "bytes"])
def test_a_reference_is_a_string_or_a_path(reference: str) -> None:
    with pytest.raises(BadOption, match="A model reference is a string or a path"):
        session.load(reference)


def test_a_model_is_loaded_by_its_path(folder: Path) -> None:
    model = session.load(folder / "mine.gguf", ctx=256)
    try:
        assert model.path == folder / "mine.gguf"
    finally:
        model.unload()


def test_settings_end_with_the_session(new_session: Session) -> None:
    new_session.settings = ServerSettings(addresses=("http://127.0.0.1:9",))

    new_session.close()

    assert new_session.settings == ServerSettings()


@pytest.mark.parametrize("options", [ANY, LoadOptions(ctx=512)], ids=["none", "the same"])
def test_the_same_load_options_change_nothing(new_session: Session, options: LoadOptions) -> None:
    first = new_session.use("demo", LoadOptions(ctx=512))

    assert new_session.use("demo", options) is first


def test_what_was_unloaded_elsewhere_is_used_no_more(new_session: Session) -> None:
    first = new_session.use("demo", ANY)
    first.unload()

    second = new_session.use(None, ANY)

    assert second is not first
    assert new_session.models == (second,)


def test_a_running_generation_can_be_found_and_stopped(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    new_session.add(model)
    stream = model.start(ask())

    running = new_session.running
    counts = (new_session.stop("another"), new_session.stop(stream.request.id))
    stream.wait()

    assert (running, counts, new_session.running) == ((stream,), (0, 1), ())
    assert stream.completion().finish_reason == "stopped"


def test_all_generations_can_be_stopped(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    streams = [model.start(ask()) for _ in range(3)]

    count = new_session.stop()

    assert count == 3
    assert [stream.completion().finish_reason for stream in streams] == ["stopped"] * 3


def test_threads_may_start_and_stop_at_once(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    new_session.add(model)

    def work() -> None:
        stream = model.start(ask())
        while stream.is_running:
            new_session.stop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert new_session.running == ()


def test_the_last_completion_of_each_model_is_kept(new_session: Session) -> None:
    model = scripted("one", "first", "second")
    completions = [model.complete("Why?") for _ in range(2)]

    for completion in completions:
        new_session.record(completion)

    assert new_session.last("one") == completions[-1]
    assert new_session.last("two") is None


@pytest.mark.parametrize("name", ["one", "The one"])
def test_one_model_can_be_unloaded_by_name(new_session: Session, name: str) -> None:
    one, two = scripted("one"), scripted("two")
    new_session.add(two)
    new_session.add(one)

    references = new_session.unload(name)

    assert (references, new_session.models, new_session.current) == (["one"], (two,), None)
    assert one.is_unloaded


def test_another_model_stays_the_current_one(new_session: Session) -> None:
    one, two = scripted("one"), scripted("two")
    new_session.add(one)
    new_session.add(two)

    new_session.unload("one")

    assert new_session.current is two


@pytest.mark.parametrize(("loaded", "listed"), [([], "none"), (["one", "two"], "one, two")], ids=["none", "two"])
def test_what_is_not_loaded_cannot_be_unloaded(new_session: Session, loaded: list[str], listed: str) -> None:
    for reference in loaded:
        new_session.add(scripted(reference))

    with pytest.raises(ModelNotFound) as caught:
        new_session.unload("three")

    assert (caught.value.message, caught.value.hint) == (
        "three is not loaded.",
        f"Loaded: {listed}. Type: %llm status",
    )


def test_closing_stops_and_unloads_everything(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    new_session.add(model)
    stream = model.start(ask())

    new_session.close()
    new_session.close()

    assert stream.completion().finish_reason == "stopped"
    assert new_session.models == ()


def test_load_puts_a_model_into_memory_and_makes_it_current() -> None:
    model = session.load("demo", ctx=256, threads=1, gpu_layers=0)
    try:
        assert default_session().current is model
        assert (model.context, model.gpu_layers) == (256, 0)
        assert model.memory_bytes > 0
        assert session.load("demo") is model
    finally:
        default_session().unload()


def test_a_bad_load_option_is_refused_before_anything_is_read() -> None:
    with pytest.raises(BadOption):
        session.load("nothing.gguf", ctx=0)


def test_the_models_are_those_of_the_running_folder(folder: Path) -> None:
    assert [info.reference for info in session.models()] == ["demo", "mine.gguf"]


EXIT = """
from localllm_magics.session import load

model = load("demo", threads=1)
stream = model.stream("Tell me a tiny story about a cat.", temperature=2.0, top_k=0)
print("started", flush=True)
"""


def test_a_process_can_end_while_a_model_answers() -> None:
    result = subprocess.run(
        [sys.executable, "-c", EXIT], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "started\n", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(LoadOptions(), "", id="none"),
        pytest.param(LoadOptions(gpu_layers="all", ctx=512), "--ctx 512 --gpu-layers all", id="two"),
        pytest.param(LoadOptions(gpu_layers=0), "--gpu-layers 0", id="zero"),
    ],
)
def test_load_options_are_written_as_they_are_typed(options: LoadOptions, text: str) -> None:
    assert changed_options(options) == text
