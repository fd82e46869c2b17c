"""Which of several loaded models an unload means."""

import shutil
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.core.errors import UsageError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.model import Model
from localllm_magics.session import Session
from localllm_magics.testing import ScriptedEngine
from tests.test_session import keep


def named(reference: str, name: str) -> Model:
    return Model(ScriptedEngine(reference=reference), ModelInfo(reference=reference, name=name, source="bundled"))


@pytest.fixture
def file(folder: Path) -> Path:
    return Path(shutil.copy(demo.PATH, folder / "a.gguf"))


def test_a_reference_comes_before_a_name(new_session: Session) -> None:
    other = named("other", name="one")
    new_session.add(named("one", name="one"))
    new_session.add(other)

    assert (new_session.unload("one"), new_session.models) == (["one"], (other,))


def test_a_name_of_several_is_an_error_that_lists_them(new_session: Session) -> None:
    new_session.add(named("one", name="Tiny"))
    new_session.add(named("two", name="Tiny"))

    with pytest.raises(UsageError) as caught:
        new_session.unload("Tiny")

    assert (caught.value.message, caught.value.hint) == (
        "Tiny names 2 loaded models.",
        "Type %llm unload and one or two.",
    )
    assert len(new_session.models) == 2


def test_files_that_are_named_alike_are_told_apart_by_their_paths(
    new_session: Session, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = file.parent / "beside"
    folder.mkdir()
    keep(new_session, "a.gguf")
    shutil.copy(demo.PATH, folder)
    (folder / demo.PATH.name).rename(folder / "a.gguf")
    monkeypatch.chdir(folder)
    keep(new_session, "a.gguf")

    with pytest.raises(UsageError) as caught:
        new_session.unload("a.gguf")
    new_session.unload(str(file))

    assert str(file) in str(caught.value.hint)
    assert [model.path for model in new_session.models] == [folder / "a.gguf"]


@pytest.mark.parametrize("typed", ["a", "a.gguf", "./a.gguf", "{folder}/a.gguf"])
@pytest.mark.parametrize("loaded", ["a", "./a.gguf"])
def test_what_was_typed_at_the_load_can_be_typed_again(
    new_session: Session, file: Path, loaded: str, typed: str
) -> None:
    keep(new_session, "demo")
    keep(new_session, loaded)
    new_session.use(None, LoadOptions()).keep()

    new_session.unload(typed.format(folder=file.parent))

    assert [model.info.reference for model in new_session.models] == ["demo"]


def test_what_was_typed_at_the_load_counts_in_another_folder_too(
    new_session: Session, file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(new_session, "a")

    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    new_session.unload("a")

    assert new_session.models == ()
