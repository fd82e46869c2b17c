import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localllm_magics import api
from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from localllm_magics.session import Session, default_session
from localllm_magics.testing import ScriptedEngine
from tests.catalog.gguf_files import write_gguf

ANY = LoadOptions()
ROOT = Path(__file__).parents[1]


def scripted(reference: str, *answers: str, hangs_after: int | None = None) -> Model:
    engine = ScriptedEngine(*answers, reference=reference, hangs_after=hangs_after)
    return Model(engine, ModelInfo(reference=reference, name=f"The {reference}", source="bundled"))


def keep(session: Session, reference: str | None, options: LoadOptions = ANY) -> Model:
    """The model of a use that went well."""
    use = session.use(reference, options)
    use.keep()
    return use.model


def test_at_first_there_is_nothing(new_session: Session) -> None:
    assert (new_session.current, new_session.models, new_session.running) == (None, (), ())
    assert repr(new_session) == "<Session (), 0 running>"


def test_without_a_reference_the_default_is_used(new_session: Session) -> None:
    assert new_session.use(None, ANY).model.info.reference == "demo"


def test_another_default_can_be_given(new_session: Session, folder: Path) -> None:
    assert new_session.use(None, ANY, default="mine.gguf").model.path == folder / "mine.gguf"


def test_without_a_reference_the_current_model_is_used(new_session: Session) -> None:
    new_session.add(scripted("one"))
    second = scripted("two")
    new_session.add(second)

    assert new_session.use(None, ANY, default="nothing.gguf").model is second


def test_a_reference_that_is_in_use_names_the_same_model(new_session: Session) -> None:
    first = scripted("one")
    new_session.add(first)
    new_session.add(scripted("two"))

    model = keep(new_session, "one")

    assert (model, new_session.current, len(new_session.models)) == (first, first, 2)


def test_an_unknown_reference_changes_nothing(new_session: Session, folder: Path) -> None:
    model = keep(new_session, "demo")

    with pytest.raises(ModelNotFound):
        new_session.use("nothing.gguf", ANY)

    assert (new_session.current, new_session.models) == (model, (model,))


def test_a_model_is_current_when_it_was_kept_and_not_before(new_session: Session, folder: Path) -> None:
    first = keep(new_session, "demo")

    use = new_session.use("mine.gguf", ANY)
    before = (new_session.current, new_session.models)
    use.keep()

    assert before == (first, (first,))
    assert (new_session.current, new_session.models) == (use.model, (first, use.model))


def test_what_was_tried_in_vain_is_forgotten(new_session: Session, folder: Path) -> None:
    first = keep(new_session, "demo")

    use = new_session.use("mine.gguf", ANY)
    use.undo()

    assert (new_session.current, new_session.models, use.model.is_unloaded) == (first, (first,), True)


def test_two_uses_that_overlap_undo_only_themselves(new_session: Session, folder: Path) -> None:
    first = keep(new_session, "demo")

    one = new_session.use("mine.gguf", ANY)
    other = new_session.use(None, ANY)
    one.undo()
    other.undo()

    assert (other.model, new_session.current, new_session.models) == (first, first, (first,))


def test_of_two_uses_of_a_new_model_the_last_one_to_fail_forgets_it(new_session: Session, folder: Path) -> None:
    one, other = new_session.use("mine.gguf", ANY), new_session.use("mine.gguf", ANY)

    one.undo()
    was_unloaded = one.model.is_unloaded
    other.undo()

    assert one.model is other.model
    assert (was_unloaded, other.model.is_unloaded) == (False, True)


def test_a_use_that_fails_after_another_one_went_well_changes_nothing(new_session: Session, folder: Path) -> None:
    one, other = new_session.use("mine.gguf", ANY), new_session.use("mine.gguf", ANY)

    one.keep()
    other.undo()

    assert (new_session.current, one.model.is_unloaded) == (one.model, False)


def test_what_is_in_memory_is_kept_though_its_answer_failed(new_session: Session) -> None:
    use = new_session.use("demo", LoadOptions(ctx=256))
    use.model.load()

    use.undo()

    assert (new_session.current, new_session.models) == (use.model, (use.model,))


def test_what_another_use_loads_is_not_taken_from_it(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=256))
    changing, other = new_session.use("demo", LoadOptions(ctx=512)), new_session.use("demo", ANY)

    changing.undo()
    while_in_use = model.options
    other.undo()

    assert (while_in_use, model.options) == (LoadOptions(ctx=512), LoadOptions(ctx=256))


def test_options_with_which_another_use_went_well_stay(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=256))
    changing, other = new_session.use("demo", LoadOptions(ctx=512)), new_session.use("demo", ANY)

    other.keep()
    changing.undo()

    assert model.options == LoadOptions(ctx=512)


def test_changes_are_reported_to_whoever_wants_to_know(new_session: Session, folder: Path) -> None:
    seen: list[tuple[int, str]] = []

    def note() -> None:
        current = new_session.current
        seen.append((len(new_session.models), "" if current is None else current.info.reference))

    unsubscribe = new_session.subscribe(note)
    use = new_session.use("demo", ANY)
    use.keep()
    new_session.use("mine.gguf", ANY).undo()
    keep(new_session, "mine.gguf")
    keep(new_session, "mine.gguf")
    new_session.unload("mine.gguf")
    new_session.unload()
    unsubscribe()
    unsubscribe()
    keep(new_session, "demo")

    assert seen == [(1, "demo"), (2, "mine.gguf"), (1, ""), (0, "")]


@pytest.mark.parametrize("reference", [5, None, b"demo"], ids=["number", "none", "bytes"])
def test_a_reference_is_a_string_or_a_path(reference: str) -> None:
    with pytest.raises(BadOption, match="A model reference is a string or a path"):
        api.load(reference)


def test_a_model_is_loaded_by_its_path(folder: Path) -> None:
    model = api.load(folder / "mine.gguf", ctx=256)
    try:
        assert model.path == folder / "mine.gguf"
    finally:
        model.unload()


def test_settings_end_with_the_session(new_session: Session) -> None:
    new_session.settings = ServerSettings(addresses=("http://127.0.0.1:9",))

    new_session.close()

    assert new_session.settings == ServerSettings()


def test_what_was_unloaded_elsewhere_is_used_no_more(new_session: Session) -> None:
    first = keep(new_session, "demo")
    first.unload()
    models = new_session.models

    second = keep(new_session, None)

    assert second is not first
    assert (models, new_session.models) == ((), (second,))


def test_a_running_generation_can_be_found_and_stopped(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    new_session.add(model)
    stream = model.stream("Why?")

    running = new_session.running
    counts = (new_session.stop("another"), new_session.stop(stream.request.id))
    stream.wait()

    assert (running, counts, new_session.running) == ((stream,), (0, 1), ())
    assert stream.completion().finish_reason == "stopped"


def test_all_generations_can_be_stopped(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    streams = [model.stream("Why?") for _ in range(3)]

    count = new_session.stop()

    assert count == 3
    assert [stream.completion().finish_reason for stream in streams] == ["stopped"] * 3


def test_threads_may_start_and_stop_at_once(new_session: Session) -> None:
    model = scripted("one", "a b", hangs_after=1)
    new_session.add(model)

    def work() -> None:
        stream = model.stream("Why?")
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
    stream = model.stream("Why?")

    new_session.close()
    new_session.close()

    assert stream.completion().finish_reason == "stopped"
    assert new_session.models == ()


def test_load_puts_a_model_into_memory_and_makes_it_current() -> None:
    model = api.load("demo", ctx=256, threads=1, gpu_layers=0)
    try:
        assert default_session().current is model
        assert (model.context, model.gpu_layers) == (256, 0)
        assert model.memory_bytes > 0
        assert api.load("demo") is model
    finally:
        default_session().unload()


def test_the_models_are_those_of_the_running_folder(folder: Path) -> None:
    assert [info.reference for info in api.models()] == ["demo", "mine.gguf"]


EXIT = """
from localllm_magics.api import load

model = load("demo", threads=1)
stream = model.stream("Tell me a tiny story about a cat.", temperature=2.0, top_k=0)
print("started", flush=True)
"""


def test_a_process_can_end_while_a_model_answers() -> None:
    result = subprocess.run(
        [sys.executable, "-c", EXIT], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "started\n", "")


def test_a_use_that_ends_after_its_model_was_forgotten_changes_nothing(new_session: Session) -> None:
    use = new_session.use("demo", ANY)
    new_session.close()

    use.keep()

    assert (new_session.current, new_session.models) == (None, ())


def test_what_cannot_be_loaded_is_not_the_current_model(tmp_path: Path) -> None:
    bad = write_gguf(tmp_path / "bad.gguf", architecture="unheard-of")

    with pytest.raises(LocalLLMError):
        api.load(bad)

    assert default_session().models == ()
