import os
import shutil
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.catalog.discover import Catalog
from localllm_magics.catalog.reference import resolve
from localllm_magics.core.errors import LoadFailed, LocalLLMError, ModelNotFound, NotAGGUF, TruncatedFile
from localllm_magics.core.hints import LIST_MODELS
from localllm_magics.core.model_info import ModelInfo
from tests.catalog.gguf_files import DEMO, TEMPLATE, write_gguf
from tests.catalog.ollama_stores import LIBRARY, write_model, write_recorded_store
from tests.server.llamafile_stand_in import make_llamafile

CHAT = {"tokenizer.chat_template": TEMPLATE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a subfolder and models of each sort."""
    write_gguf(tmp_path / "Llama-3.2-1B.Q4_K_M.gguf", metadata={"general.name": "Llama 3.2 1B", **CHAT})
    write_gguf(tmp_path / "Llama-3.2-1B.Q8_0.gguf", metadata={"general.name": "Llama 3.2 1B", **CHAT})
    write_gguf(tmp_path / "llava.gguf", metadata=CHAT)
    write_gguf(tmp_path / "mmproj-llava.gguf", architecture="clip")
    (tmp_path / "cut.gguf").write_bytes(DEMO.read_bytes()[:-1])
    (tmp_path / "empty").touch()
    below = tmp_path / "sub dir"
    below.mkdir()
    write_gguf(below / "big-00001-of-00002.gguf")
    write_gguf(below / "big-00002-of-00002.gguf")
    (tmp_path / "bare").mkdir()
    return tmp_path


def failure(reference: str, folder: Path) -> LocalLLMError:
    with pytest.raises(LocalLLMError) as caught:
        resolve(reference, folder)
    return caught.value


@pytest.mark.parametrize("reference", ["demo", " demo ", "Demo", "dem"])
def test_demo_is_the_bundled_model(folder: Path, reference: str) -> None:
    info = resolve(reference, folder)

    assert (info.reference, info.source, info.path) == ("demo", "bundled", DEMO)


def test_demo_is_not_a_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()

    assert resolve("demo", tmp_path).path == DEMO


@pytest.mark.parametrize("reference", ["llava.gguf", "./llava.gguf", "bare/../llava.gguf"])
def test_a_path_is_looked_for_in_the_folder(folder: Path, reference: str) -> None:
    info = resolve(reference, folder)

    assert info.reference == reference
    assert info.path is not None
    assert info.path.samefile(folder / "llava.gguf")


def test_a_whole_path_is_taken_as_it_is(folder: Path) -> None:
    assert resolve(str(folder / "llava.gguf"), folder / "bare").path == folder / "llava.gguf"


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))

    assert resolve("~/llava.gguf", folder / "bare").path == folder / "llava.gguf"


def test_any_part_of_a_split_model_is_its_first(folder: Path) -> None:
    info = resolve("sub dir/big-00002-of-00002.gguf", folder)

    assert info.path == folder / "sub dir" / "big-00001-of-00002.gguf"


@pytest.mark.parametrize("reference", ["llava", "LLAVA", "Q4_K_M", "q8"])
def test_a_name_or_a_unique_part_of_it_is_enough(folder: Path, reference: str) -> None:
    (folder / "mmproj-llava.gguf").unlink()
    info = resolve(reference, folder)

    assert reference.casefold() in info.reference.casefold()


def test_a_part_of_a_name_means_the_one_that_makes_text(folder: Path) -> None:
    assert resolve("lava", folder).reference == "llava.gguf"


@pytest.mark.parametrize("reference", ["llama 3.2 1b", "3.2"])
def test_an_ambiguous_name_lists_what_it_could_be(folder: Path, reference: str) -> None:
    error = failure(reference, folder)

    assert isinstance(error, ModelNotFound)
    assert error.message == f"{reference!r} names 2 models: Llama-3.2-1B.Q4_K_M.gguf, Llama-3.2-1B.Q8_0.gguf."
    assert error.hint == "Type: %llm load Llama-3.2-1B.Q4_K_M.gguf"


def test_a_long_list_is_counted(tmp_path: Path) -> None:
    for number in range(9):
        write_gguf(tmp_path / f"many-{number}.gguf")

    assert failure("many", tmp_path).message.endswith("many-4.gguf, … (9 in all).")


def test_an_unknown_name_lists_the_nearest(folder: Path) -> None:
    error = failure("lama-3.2-1B.Q4_K_S", folder)

    assert isinstance(error, ModelNotFound)
    assert "The nearest: Llama-3.2-1B.Q4_K_M.gguf, " in error.message
    assert error.hint == LIST_MODELS


@pytest.mark.parametrize("reference", ["", "  ", "#+?", "ollama:qwen3"])
def test_a_name_like_no_other_is_not_found(folder: Path, reference: str) -> None:
    error = failure(reference, folder)

    assert isinstance(error, ModelNotFound)
    assert error.message == f"There is no model {reference.strip()!r}."


def test_a_name_of_ollama_s_says_how_to_download_it(folder: Path) -> None:
    assert failure("qwen3:4b", folder).hint.endswith("To have Ollama download it, type: %llm pull ollama:qwen3:4b")


def test_a_copy_of_the_bundled_model_does_not_hide_its_name(tmp_path: Path) -> None:
    shutil.copy(DEMO, tmp_path / "copy.gguf")

    assert failure("dmeo", tmp_path).message == "There is no model 'dmeo'. The nearest: demo."


@pytest.mark.skipif(os.name == "nt", reason="there it is the usual way")
@pytest.mark.parametrize("reference", [r"sub dir\big-00001-of-00002.gguf", r".\llava.gguf"])
def test_a_path_may_be_written_as_on_windows(folder: Path, reference: str) -> None:
    info = resolve(reference, folder)

    assert (info.path, info.reference) == (folder / reference.replace("\\", "/"), reference)


def test_a_file_with_a_backslash_in_its_name_comes_first(folder: Path) -> None:
    write_gguf(folder / r"sub\x.gguf", metadata=CHAT)

    assert resolve(r"sub\x.gguf", folder).path == folder / r"sub\x.gguf"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param("gone.gguf", "gone.gguf is a link to /no/where.gguf, which does not exist.", id="a path"),
        pytest.param("gone", "{folder}/gone.gguf is a link to /no/where.gguf, which does not exist.", id="a name"),
        pytest.param("lost/x.gguf", "{folder}/lost is a link to nowhere, which does not exist.", id="a folder"),
        pytest.param("round.gguf", "round.gguf is a link to round.gguf, which does not exist.", id="to itself"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(folder: Path, reference: str, message: str) -> None:
    (folder / "gone.gguf").symlink_to("/no/where.gguf")
    (folder / "round.gguf").symlink_to("round.gguf")
    (folder / "lost").symlink_to("nowhere")

    error = failure(reference, folder)

    assert isinstance(error, ModelNotFound)
    assert error.message == message.format(folder=folder)
    assert error.hint


@pytest.mark.parametrize("reference", ["sub dir", "sub dir/", "./sub dir"])
def test_a_folder_lists_its_models(folder: Path, reference: str) -> None:
    error = failure(reference, folder)
    inside = f"{reference.rstrip('/')}/big-00001-of-00002.gguf"

    assert isinstance(error, ModelNotFound)
    assert error.message == f"{reference} is a folder. It has: {inside}."
    assert error.hint == f"Type: %llm load '{inside}'"


@pytest.mark.parametrize("reference", ["bare", "./bare"])
def test_a_folder_without_models_says_so(folder: Path, reference: str) -> None:
    assert failure(reference, folder).message == f"{reference} is a folder, and has no GGUF files."


def test_a_folder_does_not_hide_a_model_of_that_name(folder: Path) -> None:
    (folder / "llav").mkdir()

    assert resolve("llav", folder).reference == "llava.gguf"


def test_a_missing_file_lists_the_nearest_beside_it(folder: Path) -> None:
    error = failure("./LAVA.gguf", folder)

    assert isinstance(error, ModelNotFound)
    assert error.message.startswith("There is no file ./LAVA.gguf. There is: ./llava.gguf")
    assert error.hint == "Type: %llm load ./llava.gguf"


def test_a_missing_file_unlike_any_lists_what_there_is(folder: Path) -> None:
    error = failure("sub dir/#", folder)

    assert error.message == "There is no file sub dir/#. There is: sub dir/big-00001-of-00002.gguf."


def test_a_missing_file_in_an_empty_folder_says_so(folder: Path) -> None:
    assert failure("bare/x.gguf", folder).message == "There is no file bare/x.gguf, and no GGUF file in its folder."


@pytest.mark.parametrize("reference", ["no/x.gguf", "~nobody-of-that-name/x.gguf", "http://localhost:1/v1", "a\0/b/c"])
def test_a_missing_folder_is_named(folder: Path, reference: str) -> None:
    error = failure(reference, folder)

    assert isinstance(error, ModelNotFound)
    assert "does not exist" in error.message


def test_a_path_too_long_for_the_system_is_not_found(folder: Path) -> None:
    assert isinstance(failure("x" * 5000, folder), ModelNotFound)


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        pytest.param("cut.gguf", TruncatedFile, id="path to a cut file"),
        pytest.param("cut", TruncatedFile, id="name of a cut file"),
        pytest.param("empty", NotAGGUF, id="path to an empty file"),
        pytest.param("/dev/null", NotAGGUF, id="path to a device"),
        pytest.param("mmproj-llava.gguf", LoadFailed, id="path to a projector"),
        pytest.param("mmproj", LoadFailed, id="name of a projector"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(folder: Path, reference: str, error: type[LocalLLMError]) -> None:
    caught = failure(reference, folder)

    assert type(caught) is error
    assert caught.hint


@pytest.mark.parametrize(
    ("architecture", "kind", "words"),
    [
        pytest.param("bert", "model", "load a chat model instead", id="embedding"),
        pytest.param("clip", "mmproj", "load the model that it belongs to", id="projector"),
        pytest.param("llama", "adapter", "load the model that it was made for", id="adapter"),
    ],
)
def test_what_makes_no_text_names_what_to_load_instead(
    tmp_path: Path, architecture: str, kind: str, words: str
) -> None:
    write_gguf(tmp_path / "x.gguf", architecture=architecture, metadata={"general.type": kind})

    assert words in failure("x.gguf", tmp_path).message


def test_a_vocabulary_makes_no_text(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", weights={})

    assert failure("x.gguf", tmp_path).message == (
        "x.gguf has a vocabulary and no weights; load the file that has the weights."
    )


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        *((text, "terse:latest") for text in ("terse", "Terse", "terse:latest", "library/terse", "ers")),
        *((text, "hf.co/someone/demo-GGUF:Q8_0") for text in ("hf.co/someone/demo-GGUF:q8_0", "someone/demo", "Q8_0")),
        *((text, "demo:latest") for text in ("demo:latest", "library/demo", "registry.ollama.ai/library/demo:latest")),
    ],
)
def test_a_stored_model_is_found_by_its_name(tmp_path: Path, store: Path, reference: str, name: str) -> None:
    write_recorded_store(store)

    info = resolve(reference, tmp_path)

    assert (info.source, info.name) == ("ollama", name)


@pytest.mark.parametrize("reference", ["demo", "library/terse"])
def test_the_bundled_model_and_files_come_before_stored_models(tmp_path: Path, store: Path, reference: str) -> None:
    write_recorded_store(store)
    (tmp_path / "library").mkdir()
    write_gguf(tmp_path / "library" / "terse", metadata=CHAT)

    assert resolve(reference, tmp_path).source != "ollama"


def test_a_file_and_a_stored_model_of_one_name_are_distinguished(tmp_path: Path, store: Path) -> None:
    write_recorded_store(store)
    write_gguf(tmp_path / "terse.gguf", metadata=CHAT)

    error = failure("terse", tmp_path)

    assert error.message == "'terse' names 2 models: terse.gguf, terse:latest."
    assert [resolve(name, tmp_path).source for name in ("terse.gguf", "terse:latest")] == ["folder", "ollama"]


def test_a_stored_model_that_cannot_be_used_says_why(tmp_path: Path, store: Path) -> None:
    write_model(store, f"{LIBRARY}/cloud/latest", config={"remote_host": "https://ollama.com"}, weights=None)

    error = failure("cloud", tmp_path)

    assert isinstance(error, LoadFailed)
    assert error.message == "cloud:latest runs on a server of Ollama's: its weights are not in the store."
    assert error.hint == "Type: %llm load ollama:cloud"


def test_a_missing_path_is_no_stored_model(tmp_path: Path, store: Path) -> None:
    write_recorded_store(store)

    assert failure("./terse", tmp_path).message == "There is no file ./terse, and no GGUF file in its folder."
    assert failure("other/terse", tmp_path).message.startswith("There is no file other/terse: the folder ")


def test_a_llamafile_means_the_weights_inside(tmp_path: Path) -> None:
    path = make_llamafile(tmp_path / "small.llamafile", demo.PATH, None, Path("llama-server"))

    info = resolve("small.llamafile", tmp_path)

    assert (info.reference, info.engine, info.path) == ("small.llamafile", "kernel", path)
    assert (info.architecture, info.size_bytes) == ("llama", demo.PATH.stat().st_size)


def test_others_are_asked_for_what_is_not_here(folder: Path) -> None:
    served = ModelInfo(reference="ollama:far", name="far", source="daemon", engine="ollama")

    assert resolve("far", folder, lambda: [served]) == served


@pytest.mark.parametrize(
    "name", ["\x1b]0;title\x07.gguf", "line\nend.gguf", "\u202efugg.gguf", "\udcff.gguf"], ids=ascii
)
@pytest.mark.parametrize("reference", ["sub", "sub/other.gguf", "sub/{}", "#-{}"])
def test_a_file_name_with_control_characters_is_escaped(tmp_path: Path, reference: str, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).touch()

    error = failure(reference.format(name), tmp_path)

    assert str(error).replace("\n", "").isprintable()
    assert error.message.isprintable()
    assert "%llm load" not in error.hint


def test_a_name_in_the_list_with_escapes_is_found(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a\x1b.gguf", metadata=CHAT)

    assert resolve(r"a\x1b.gguf", tmp_path).path == path


@pytest.mark.parametrize("start", ["", "./", "no/"])
def test_a_long_reference_is_shortened_in_the_error(tmp_path: Path, start: str) -> None:
    assert len(str(failure(start + "x" * 100_000, tmp_path))) < 1_000


def test_what_makes_no_text_is_not_among_several_that_do(folder: Path) -> None:
    write_gguf(folder / "a-Llama-3.2-vocab.gguf", weights={})
    write_gguf(folder / "a-Llama-3.2-mmproj.gguf", architecture="clip")
    shutil.copy(folder / "cut.gguf", folder / "a-Llama-3.2-cut.gguf")

    error = failure("llama-3.2", folder)

    assert error.message == "'llama-3.2' names 2 models: Llama-3.2-1B.Q4_K_M.gguf, Llama-3.2-1B.Q8_0.gguf."


@pytest.mark.parametrize("reference", ["new.gguf", "new", "./incomplete-new.gguf", "incomplete-new.gguf"])
@pytest.mark.parametrize("size", [None, -1], ids=["whole", "cut off"])
def test_an_unfinished_download_is_not_loaded_whatever_its_size(
    tmp_path: Path, reference: str, size: int | None
) -> None:
    (tmp_path / "incomplete-new.gguf").write_bytes(DEMO.read_bytes()[:size])

    error = failure(reference, tmp_path)

    assert isinstance(error, LoadFailed)
    assert "new.gguf is not downloaded completely" in error.message
    assert error.hint == "Let its download come to its end, then load it."


@pytest.mark.parametrize("reference", ["-dash.gguf", "./-dash.gguf", "dash"])
def test_a_name_that_begins_with_a_dash_is_listed_as_it_can_be_typed(tmp_path: Path, reference: str) -> None:
    path = write_gguf(tmp_path / "-dash.gguf", metadata=CHAT)

    (info,) = [info for info in Catalog().find(tmp_path).models if info.path == path]

    assert info.reference == "./-dash.gguf"
    assert resolve(reference, tmp_path).path == path
    assert failure("-dahs.gguf", tmp_path).hint == "Type: %llm load ./-dash.gguf"
