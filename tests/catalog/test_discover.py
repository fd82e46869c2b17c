import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics.catalog.discover import Catalog, bundled_model, distinct, model_files, running_folder
from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.scan import ModelSource
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo, Source
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.ollama_stores import write_recorded_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good models, one of them in parts, a bad one, and what is no model."""
    folder = tmp_path / "here"
    folder.mkdir()
    write_gguf(folder / "zebra.gguf", metadata={"llama.context_length": 4096})
    write_gguf(folder / "Apple-00001-of-00002.GGUF")
    write_gguf(folder / "Apple-00002-of-00002.GGUF")
    (folder / "bad.gguf").write_text("hello")
    (folder / ".hidden.gguf").write_text("hello")
    (folder / "notes.txt").write_text("hello")
    (folder / "folder.gguf").mkdir()
    write_gguf(folder / "folder.gguf" / "below.gguf")
    return folder


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """For a user without any stores."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return Catalog(HeaderCache(tmp_path / "headers.json"))


def references(catalog: Catalog, here: Path) -> list[str]:
    return [info.reference for info in distinct(catalog.find(here).models)]


def put(path: Path, of: Path = DEMO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(of, path))


def test_the_bundled_model_is_named_demo() -> None:
    info = bundled_model()

    assert (info.reference, info.name, info.source, info.path) == ("demo", "demo", "bundled", DEMO)
    assert info.problem is None


def test_the_demo_comes_first_then_the_folder_by_name(catalog: Catalog, folder: Path) -> None:
    models = catalog.find(folder).models

    assert [info.reference for info in models] == ["demo", "Apple-00001-of-00002.GGUF", "bad.gguf", "zebra.gguf"]
    assert [info.source for info in models] == ["bundled", "folder", "folder", "folder"]
    assert models[0] == bundled_model()


def test_an_unreadable_file_is_listed_with_the_reason(catalog: Catalog, folder: Path) -> None:
    assert catalog.find(folder).models[2].problem == "bad.gguf is not a GGUF file: it is a text file."


@pytest.mark.parametrize("name", ["missing", "a\0b"])
def test_a_folder_that_cannot_be_read_leaves_the_demo(catalog: Catalog, tmp_path: Path, name: str) -> None:
    assert references(catalog, tmp_path / name) == ["demo"]


def test_configured_folders_are_searched_with_those_below(catalog: Catalog, tmp_path: Path) -> None:
    put(tmp_path / "home" / "models" / "one" / "two" / "x.gguf")
    put(tmp_path / "here" / "nearby" / "y.gguf")
    catalog.model_folders = ("~/models", "nearby", str(tmp_path / "missing"))

    assert references(catalog, tmp_path / "here") == ["demo", "one/two/x.gguf", "y.gguf"]


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_configured_folder_that_is_none_is_named(catalog: Catalog, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    catalog.model_folders = (str(tmp_path / name),)

    assert catalog.find(tmp_path).notes == (f"The setting model_folders names {tmp_path / name}, which is no folder.",)


def test_all_stores_are_searched(
    catalog: Catalog, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("HF_HUB_CACHE", "LMSTUDIO_HOME", "LLAMA_CACHE", "JAN_DATA_FOLDER", "OLLAMA_MODELS")
    for name in names:
        monkeypatch.setenv(name, str(tmp_path / name))
    write_recorded_store(tmp_path / "OLLAMA_MODELS")
    put(tmp_path / "HF_HUB_CACHE/models--org--repo/snapshots/abc/h.gguf")
    put(tmp_path / "LMSTUDIO_HOME/models/org/repo/l.gguf")
    put(tmp_path / "LLAMA_CACHE/c.gguf")
    put(tmp_path / "home/.cache/gpt4all/g.gguf")
    put(tmp_path / "JAN_DATA_FOLDER/models/j.gguf")

    models = distinct(catalog.find(folder).models)[4:]

    assert [(info.source, info.reference) for info in models] == [
        ("huggingface", "org/repo:h"),
        ("ollama", "demo:latest"),  # `demo` alone is the bundled model
        ("ollama", "hf.co/someone/demo-GGUF:Q8_0"),
        ("ollama", "terse"),
        ("lmstudio", "org/repo:l"),
        ("llama.cpp", "c.gguf"),
        ("gpt4all", "g.gguf"),
        ("jan", "j.gguf"),
    ]


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_file_that_two_programs_have_is_one_model(catalog: Catalog, tmp_path: Path, link: str) -> None:
    first = put(tmp_path / "here" / "x.gguf")
    second = tmp_path / "home" / ".lmstudio" / "models" / "org" / "repo" / "y.gguf"
    second.parent.mkdir(parents=True)
    second.symlink_to(first) if link == "symbolic" else second.hardlink_to(first)

    assert references(catalog, first.parent) == ["demo", "x.gguf"]
    assert [info.reference for info in catalog.find(first.parent).models] == ["demo", "x.gguf", "org/repo:y"]


def test_a_broken_file_that_two_programs_have_is_listed_once(catalog: Catalog, tmp_path: Path) -> None:
    first = tmp_path / "here" / "x.gguf"
    first.parent.mkdir()
    first.write_text("hello")
    (tmp_path / "here" / "y.gguf").hardlink_to(first)

    assert references(catalog, first.parent) == ["demo", "x.gguf"]


def test_what_is_no_model_for_text_is_listed_as_what_it_is(catalog: Catalog, tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", metadata={"general.type": "adapter"})
    write_gguf(tmp_path / "b.gguf", architecture="bert")
    write_gguf(tmp_path / "p.gguf", architecture="clip")
    write_gguf(tmp_path / "v.gguf", weights={})

    kinds = [info.kind for info in catalog.find(tmp_path).models[1:]]

    assert kinds == ["adapter", "embedding", "projector", "vocabulary"]


def test_models_with_one_reference_are_told_apart_by_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    inside, outside = tmp_path / "b" / "x.gguf", Path("/elsewhere/x.gguf")
    stored: list[tuple[str, Source, Path]] = [
        ("x.gguf", "folder", Path("x.gguf")),
        ("X.gguf", "llama.cpp", inside),
        ("x.gguf", "gpt4all", outside),
        ("x.gguf", "ollama", tmp_path / "blob"),
    ]
    models = [
        ModelInfo(reference=reference, name=f"{reference}:latest", source=source, path=path)
        for reference, source, path in stored
    ]

    found = [info.reference for info in distinct(models)]

    assert found == ["x.gguf", "~/b/x.gguf", str(outside), "x.gguf:latest"]


def test_files_that_are_gone_are_not_in_the_next_list(catalog: Catalog, folder: Path) -> None:
    before = references(catalog, folder)
    (folder / "zebra.gguf").unlink()

    assert "zebra.gguf" in before
    assert "zebra.gguf" not in references(catalog, folder)
    assert "zebra" not in (folder.parent / "headers.json").read_text()


def test_what_was_found_last_is_known_where_it_was_found(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    assert catalog.known(folder) == []
    found = catalog.find(folder).models

    assert catalog.known(folder) == list(found)
    assert [info.source for info in catalog.known(tmp_path)] == ["bundled"]


def test_a_source_that_hangs_is_noted_and_the_next_list_goes_on_at_once(tmp_path: Path) -> None:
    go_on, begun = threading.Event(), []

    def hang(_search: Search) -> Iterator[ModelInfo]:
        begun.append(1)
        yield ModelInfo(reference="x", name="x", source="jan")
        go_on.wait()

    dead = ModelSource(name="jan", title="Jan's folder", find=hang)
    catalog = Catalog(HeaderCache(tmp_path / "headers.json"), [dead], silence=0.05)

    lists = [catalog.find(tmp_path) for _ in range(2)]

    assert [len(found.models) for found in lists] == [2, 2]
    assert all(note.startswith("Jan's folder did not answer within") for found in lists for note in found.notes)
    assert begun == [1]
    go_on.set()
    while (again := catalog.find(tmp_path)).notes:
        pass
    assert begun == [1, 1]
    assert len(again.models) == 2


def test_only_so_many_searches_are_remembered(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(101):
        catalog.find(tmp_path / str(number))

    assert catalog.known(tmp_path / "0") == catalog.known(tmp_path / "never")
    assert len(catalog.known(tmp_path / "100")) == 1


def test_the_files_of_a_folder_are_listed_without_others(folder: Path) -> None:
    found = [path.name for path in model_files(folder)]

    assert found == ["Apple-00001-of-00002.GGUF", "bad.gguf", "zebra.gguf"]
    assert model_files(folder / "missing") == []


def test_a_running_folder_that_was_deleted_has_no_models(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = running_folder()
    folder.rmdir()

    assert before == folder
    assert references(catalog, running_folder()) == ["demo"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_searches_by_itself(catalog: Catalog, tmp_path: Path) -> None:
    go_on = threading.Event()

    def hang(_search: Search) -> Iterator[ModelInfo]:
        go_on.wait()
        yield from ()

    catalog = Catalog(HeaderCache(tmp_path / "headers.json"), [ModelSource(name="jan", title="Jan", find=hang)], 2)
    catalog.find(tmp_path)
    go_on.set()
    child = os.fork()
    if not child:
        os._exit(not catalog.find(tmp_path, 60).models)

    assert os.waitpid(child, 0)[1] == 0
    sys.stdout.flush()
