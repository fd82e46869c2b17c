import sys
from pathlib import Path

import pytest

from localllm_magics.catalog.discover import ModelList, bundled_model, discover, running_folder
from localllm_magics.core.errors import SetupError
from localllm_magics.core.model_info import ModelInfo
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.ollama_stores import write_recorded_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good models, one of them in parts, a bad one, and what is no model."""
    write_gguf(tmp_path / "zebra.gguf", metadata={"llama.context_length": 4096})
    write_gguf(tmp_path / "Apple-00001-of-00002.GGUF")
    write_gguf(tmp_path / "Apple-00002-of-00002.GGUF")
    (tmp_path / "bad.gguf").write_text("hello")
    (tmp_path / ".hidden.gguf").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.gguf").mkdir()
    write_gguf(tmp_path / "folder.gguf" / "below.gguf")
    return tmp_path


def test_the_bundled_model_is_named_demo() -> None:
    info = bundled_model()

    assert (info.reference, info.name, info.source, info.path) == ("demo", "demo", "bundled", DEMO)
    assert info.problem is None


def test_the_demo_comes_first_then_the_folder_by_name(folder: Path) -> None:
    models = discover(folder)

    assert [info.reference for info in models] == ["demo", "Apple-00001-of-00002.GGUF", "bad.gguf", "zebra.gguf"]
    assert [info.source for info in models] == ["bundled", "folder", "folder", "folder"]


def test_an_unreadable_file_is_listed_with_the_reason(folder: Path) -> None:
    assert discover(folder)[2].problem == "bad.gguf is not a GGUF file: it is a text file."


def test_a_broken_link_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").symlink_to("nowhere")

    assert discover(tmp_path)[1].problem == f"{tmp_path / 'x.gguf'} is a link to nowhere, which does not exist."


@pytest.mark.parametrize("name", ["missing", "a\0b"])
def test_a_folder_that_cannot_be_read_leaves_the_demo(tmp_path: Path, name: str) -> None:
    assert [info.reference for info in discover(tmp_path / name)] == ["demo"]


def test_a_list_shows_as_a_table(folder: Path) -> None:
    text = repr(discover(folder))

    lines = text.splitlines()
    assert lines[0].split() == "Reference Name Architecture Parameters Quantization Size Context Kind Source".split()
    assert lines[2].split()[:3] == ["demo", "demo", "llama"]
    assert lines[4].split() == ["bad.gguf", "bad", "5", "B", "unreadable", "folder"]
    assert "4,096" in lines[5]
    assert lines[-1] == "bad.gguf is not a GGUF file: it is a text file."


def test_a_list_shows_as_markdown(folder: Path) -> None:
    models = discover(folder)

    assert models._repr_markdown_() == models.to_table().to_markdown()


def test_a_model_of_which_nothing_is_known_is_a_row() -> None:
    models = ModelList([ModelInfo(reference="x", name="x", source="daemon")])

    assert models.to_table().rows == (("x", "x", "", "", "", "", "", "", "daemon"),)


def test_a_long_list_is_shown_in_part_and_says_how_to_see_more() -> None:
    models = ModelList(
        [ModelInfo(reference=f"m{number}", name=f"Name {number}", source="daemon") for number in range(100_000)],
        notes=["A note."],
    )

    shown = str(models)

    assert len(shown) < 20_000
    assert shown.endswith("These are 100 of 100,000. For those with a word in their names: %llm models WORD\nA note.")
    assert [info.reference for info in models.with_name("NAME 9999")][:2] == ["m9999", "m99990"]
    assert models.with_name("m777").notes == ("A note.",)
    assert "These are" not in str(models.with_name("M7777"))


def test_a_list_becomes_a_data_frame(folder: Path) -> None:
    frame = discover(folder).to_pandas()

    assert frame.shape == (4, 15)
    assert list(frame["reference"])[:1] == ["demo"]
    assert frame["context"].iloc[3] == 4096


def test_a_data_frame_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(SetupError) as caught:
        ModelList().to_pandas()
    assert caught.value.hint == "pip install pandas"


def test_ollamas_models_come_last(folder: Path, store: Path) -> None:
    write_recorded_store(store)

    models = discover(folder)[4:]

    # `demo` alone is the bundled model.
    assert [info.reference for info in models] == ["demo:latest", "hf.co/someone/demo-GGUF:Q8_0", "terse"]
    assert {info.source for info in models} == {"ollama"}


def test_a_running_folder_that_was_deleted_has_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = running_folder()
    folder.rmdir()

    assert before == folder
    assert [info.source for info in discover(running_folder())] == ["bundled"]
