import shutil
from pathlib import Path

import pytest

from localllm_magics import api, demo
from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.core.request import LoadOptions
from localllm_magics.session import Session
from tests.catalog.ollama_stores import LIBRARY, write_model
from tests.test_session import ANY, keep


@pytest.mark.parametrize("reference", ["mine.gguf", "./mine.gguf", "mine", "min"])
def test_any_way_to_write_a_file_names_the_same_model(new_session: Session, folder: Path, reference: str) -> None:
    first = keep(new_session, str(folder / "mine.gguf"))

    assert keep(new_session, reference) is first


def test_another_load_option_loads_the_same_model_anew(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=512))
    model.load()

    again = new_session.use("demo", LoadOptions(threads=1))

    assert again.model is model
    assert (model.options, model.context) == (LoadOptions(ctx=512, threads=1), None)
    assert (again.notices, new_session.models) == (("Reloaded with --ctx 512 --threads 1.",), (model,))
    assert model.complete("Why?", max_tokens=2).model.context == 512


@pytest.mark.parametrize("options", [ANY, LoadOptions(ctx=256), LoadOptions(gpu_layers=0)], ids=["none", "ctx", "cpu"])
def test_what_a_model_in_memory_has_anyway_loads_nothing_anew(new_session: Session, options: LoadOptions) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=256, gpu_layers="auto"))
    model.load()

    use = new_session.use("demo", options)

    assert (use.model, model.context) == (model, 256)
    assert "Reloaded" not in str(use.notices)


def test_what_cannot_be_loaded_with_an_option_is_used_without_it(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=256))

    new_session.use("demo", LoadOptions(ctx=2**30)).undo()

    assert (new_session.current, model.options, model.is_unloaded) == (model, LoadOptions(ctx=256), False)


def test_a_file_of_the_same_name_elsewhere_is_another_model(
    new_session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep(new_session, "mine.gguf")
    (folder / "other").mkdir()
    shutil.copy(demo.PATH, folder / "other" / "mine.gguf")

    monkeypatch.chdir(folder / "other")
    second = keep(new_session, "mine.gguf")

    assert (first.path, second.path) == (folder / "mine.gguf", folder / "other" / "mine.gguf")
    assert new_session.models == (first, second)


def test_a_model_in_use_is_known_by_its_name_in_another_folder(
    new_session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keep(new_session, "mine.gguf")
    (folder / "other").mkdir()

    monkeypatch.chdir(folder / "other")

    assert (new_session.use("mine.gguf", ANY).model, new_session.use(None, ANY).model) == (model, model)


@pytest.mark.parametrize("reference", ["mine.gguf", None], ids=["by name", "the current one"])
def test_a_file_that_has_changed_is_loaded_anew(new_session: Session, folder: Path, reference: str | None) -> None:
    old = keep(new_session, "mine.gguf")
    old.load()

    (folder / "new.gguf").write_bytes(demo.PATH.read_bytes() + b"\0" * 32)
    (folder / "new.gguf").replace(folder / "mine.gguf")
    use = new_session.use(reference, ANY)
    use.keep()

    assert use.model is not old
    assert old.is_unloaded
    assert (new_session.current, new_session.models) == (use.model, (use.model,))
    assert use.model.info.reference == "mine.gguf"
    assert use.notices == ("The file of mine.gguf has changed, so it was reloaded.",)


def test_a_file_that_is_gone_stays_loaded(new_session: Session, folder: Path) -> None:
    model = keep(new_session, "mine.gguf")

    (folder / "mine.gguf").unlink()

    assert (keep(new_session, "mine.gguf"), keep(new_session, None)) == (model, model)


@pytest.mark.parametrize("options", [ANY, LoadOptions(ctx=512)], ids=["none", "the same"])
def test_the_same_load_options_change_nothing(new_session: Session, options: LoadOptions) -> None:
    first = keep(new_session, "demo", LoadOptions(ctx=512))
    use = new_session.use("demo", options)

    assert use.model is first
    assert "Reloaded" not in str(use.notices)


def test_a_bad_load_option_is_refused_before_anything_is_read() -> None:
    with pytest.raises(BadOption):
        api.load("nothing.gguf", ctx=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(LoadOptions(), "", id="none"),
        pytest.param(LoadOptions(gpu_layers="all", ctx=512), "--ctx 512 --gpu-layers all", id="two"),
        pytest.param(LoadOptions(gpu_layers=0), "--gpu-layers 0", id="zero"),
    ],
)
def test_load_options_are_written_as_they_are_typed(options: LoadOptions, text: str) -> None:
    assert str(options) == text


def test_models_are_found_and_used_where_the_running_folder_was_deleted(
    new_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert keep(new_session, "demo").path == demo.PATH
    assert "demo" in [info.reference for info in new_session.list_models()]
    with pytest.raises(ModelNotFound, match=r"There is no file mine\.gguf"):
        new_session.use("mine.gguf", ANY)


@pytest.mark.parametrize(
    ("before", "options", "notice"),
    [
        pytest.param(LoadOptions(ctx=512), ANY, "`--ctx 512`, as loaded before; ", id="one"),
        pytest.param(
            LoadOptions(ctx=512, threads=1),
            LoadOptions(threads=1),
            "`--ctx 512`, as loaded before; ",
            id="not asked for",
        ),
        pytest.param(LoadOptions(ctx=512), LoadOptions(ctx=512), "", id="asked for again"),
        pytest.param(LoadOptions(gpu_layers="auto"), ANY, "", id="the default"),
        pytest.param(LoadOptions(gpu_layers=0), ANY, "`--gpu-layers 0`, as loaded before; ", id="no layers"),
        pytest.param(ANY, ANY, "", id="none"),
    ],
)
def test_options_of_an_earlier_use_are_named(
    new_session: Session, before: LoadOptions, options: LoadOptions, notice: str
) -> None:
    keep(new_session, "demo", before)

    notices = new_session.use("demo", options).notices

    assert notices == ((f"{notice}`%llm load demo` goes back to the defaults.",) if notice else ())


def test_the_context_is_named_as_it_is(new_session: Session) -> None:
    keep(new_session, "demo", LoadOptions(ctx=5)).load()

    (notice,) = new_session.use(None, ANY).notices

    assert notice.startswith("`--ctx 256`, as loaded before;")


def test_what_is_not_kept_goes_back_to_the_defaults(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=512, threads=1))

    use = new_session.use("demo", LoadOptions(threads=1), keeps_options=False)
    use.keep()
    again = new_session.use("demo", ANY, keeps_options=False)

    assert (use.model, use.notices) == (model, ("Reloaded with --threads 1.",))
    assert (again.model, again.notices, model.options) == (model, ("Reloaded with the defaults.",), ANY)


@pytest.mark.parametrize("keeps_options", [True, False])
def test_force_does_not_reload_what_is_in_memory(new_session: Session, keeps_options: bool) -> None:
    model = keep(new_session, "demo", LoadOptions(threads=1))
    model.load()
    forced = LoadOptions(threads=1, force=True)

    use = new_session.use("demo", forced, keeps_options=keeps_options)

    assert (use.notices, model.options, model.is_loaded) == ((), LoadOptions(threads=1), True)


def test_force_is_for_a_load_that_is_still_to_come(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(threads=1))

    keep(new_session, "demo", LoadOptions(force=True))
    forced = model.options
    again = new_session.use("demo", ANY)
    again.keep()
    other = new_session.use("demo", LoadOptions(ctx=512))

    assert forced == LoadOptions(threads=1, force=True)
    assert again.notices[0].startswith("`--threads 1`, as loaded before;")
    assert (other.model, model.options) == (model, LoadOptions(threads=1, ctx=512))


def test_what_is_asked_for_stays_where_it_is_loaded_anew(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=512))
    model.load()

    use = new_session.use("demo", LoadOptions(gpu_layers=0), keeps_options=False)

    assert (model.options, use.notices) == (LoadOptions(gpu_layers=0), ("Reloaded with --gpu-layers 0.",))


def test_what_is_loaded_as_asked_is_not_loaded_anew(new_session: Session) -> None:
    model = keep(new_session, "demo", LoadOptions(ctx=256))
    model.load()

    use = new_session.use("demo", LoadOptions(ctx=256), keeps_options=False)

    assert (use.notices, model.context) == ((), 256)


def new_link(folder: Path, kind: str) -> str:
    """The name of another way to mine.gguf."""
    if kind == "hard":
        (folder / "link.gguf").hardlink_to(folder / "mine.gguf")
    else:
        (folder / "link.gguf").symlink_to("mine.gguf")
    return "link.gguf"


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_link_to_a_loaded_file_is_the_same_model(
    new_session: Session, folder: Path, kind: str, is_first: bool
) -> None:
    names = [new_link(folder, kind), "mine.gguf"]
    first, second = names if is_first else reversed(names)

    model = keep(new_session, first)

    assert [keep(new_session, name) for name in (second, first, second)] == [model] * 3
    assert new_session.models == (model,)


def test_the_file_of_a_model_by_another_path_is_the_same_model(new_session: Session, folder: Path) -> None:
    (folder / "sub").mkdir()
    model = keep(new_session, "mine.gguf")

    assert keep(new_session, "sub/../mine.gguf") is model
    assert keep(new_session, str(demo.PATH)) is keep(new_session, "demo")


def test_a_link_that_leads_elsewhere_now_is_followed(new_session: Session, folder: Path) -> None:
    model = keep(new_session, "mine.gguf")
    link = folder / new_link(folder, "symbolic")
    keep(new_session, "link.gguf")

    shutil.copy(demo.PATH, folder / "other.gguf")
    link.unlink()
    link.symlink_to("other.gguf")
    other = keep(new_session, "link.gguf")

    assert (other.info.reference, other.path) == ("link.gguf", link)
    assert new_session.models == (model, other)


def test_a_file_that_changes_under_a_link_is_loaded_once(new_session: Session, folder: Path) -> None:
    old = keep(new_session, new_link(folder, "symbolic"))

    (folder / "new.gguf").write_bytes(demo.PATH.read_bytes() + b"\0" * 32)
    (folder / "new.gguf").replace(folder / "mine.gguf")
    new = keep(new_session, "mine.gguf")

    assert old.is_unloaded
    assert new_session.models == (new,)


def test_a_stored_model_is_looked_for_in_the_store_that_is_named_now(
    new_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [tmp_path / name for name in ("one", "other")]
    for store in stores:
        write_model(store, f"{LIBRARY}/x/latest")

    paths = []
    for store in stores:
        monkeypatch.setenv("OLLAMA_MODELS", str(store))
        paths.append(new_session.use("x", ANY).model.path)

    assert [path and path.parents[1] for path in paths] == stores


def test_a_file_in_a_folder_named_as_a_site_is_used(new_session: Session, folder: Path) -> None:
    path = folder / "huggingface.co/a/b/m.gguf"
    path.parent.mkdir(parents=True)
    shutil.copyfile(folder / "mine.gguf", path)

    assert keep(new_session, "huggingface.co/a/b/m.gguf").path == path
