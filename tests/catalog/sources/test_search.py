import os
import shutil
import sys
from pathlib import Path

import pytest

from localllm_magics.catalog.sources.search import DEEPEST, Search
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.sources.searching import new_search
from tests.server.llamafile_stand_in import make_llamafile


def names(search: Search, folder: Path, depth: int = 0) -> list[str]:
    return [info.reference for info in search.models(folder, lambda path: path.name, depth)]


def test_models_are_found_by_name_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.gguf", "A.GGUF", ".hidden.gguf", "notes.txt"):
        shutil.copy(DEMO, tmp_path / name)
    (tmp_path / "folder.gguf").mkdir()

    assert names(new_search(tmp_path), tmp_path) == ["A.GGUF", "b.gguf"]


def test_folders_below_are_searched_as_deep_as_is_wanted(tmp_path: Path) -> None:
    deep = tmp_path / "one" / "two"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep.parent, deep):
        shutil.copy(DEMO, folder / f"{folder.name}.gguf")
    top = f"{tmp_path.name}.gguf"

    assert names(new_search(tmp_path), tmp_path) == [top]
    assert names(new_search(tmp_path), tmp_path, 1) == [top, "one.gguf"]
    assert names(new_search(tmp_path), tmp_path, DEEPEST) == [top, "one.gguf", "two.gguf"]


def test_links_that_go_round_are_followed_once(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    shutil.copy(DEMO, inner / "x.gguf")
    (inner / "up").symlink_to(tmp_path)
    (inner / "self").symlink_to("self")
    (tmp_path / "again").symlink_to(inner)

    assert names(new_search(tmp_path), tmp_path, DEEPEST) == ["x.gguf"]


@pytest.mark.parametrize("name", ["missing", "file", "broken", "round", "a\0b", "x" * 5000])
def test_what_is_no_folder_has_no_models(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")

    assert names(new_search(tmp_path), tmp_path / name, DEEPEST) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has it")
def test_a_folder_of_the_system_is_searched_like_any_other() -> None:
    assert names(new_search(Path("/proc/self")), Path("/proc/self"), 0) == []


def test_no_more_than_so_many_entries_are_looked_at(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.gguf").touch()
    search = new_search(tmp_path, most=5)

    found = names(search, tmp_path)

    assert (len(found), search.is_cut) == (5, True)
    assert names(search, tmp_path / "elsewhere") == []
    assert str(tmp_path) not in search.contents


def test_as_many_as_are_allowed_are_all(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").touch()
    search = new_search(tmp_path, most=1)

    assert (names(search, tmp_path), search.is_cut) == (["x.gguf"], False)
    assert search.contents == {str(tmp_path): {"x.gguf"}}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with a path")
def test_a_pipe_is_no_model_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")

    (info,) = new_search(tmp_path).models(tmp_path, lambda path: path.name)

    assert info.problem == "x.gguf is not a file."


@pytest.mark.parametrize(
    "name",
    ["x.gguf.part", "x.gguf.incomplete", "x.gguf.downloadInProgress", "x.gguf.downloading", "incomplete-x.gguf"],
)
def test_a_download_that_goes_on_is_listed_with_what_it_has(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF" * 1000)

    (info,) = new_search(tmp_path).models(tmp_path, lambda path: path.name)

    assert (info.reference, info.name, info.path, info.size_bytes) == ("x.gguf", "x", tmp_path / name, 4000)
    assert info.problem == "x.gguf is not downloaded completely: 4.0 kB so far."


def test_a_download_that_was_finished_is_not_listed_again(tmp_path: Path) -> None:
    shutil.copy(DEMO, tmp_path / "x.gguf")
    (tmp_path / "x.gguf.part").touch()

    assert names(new_search(tmp_path), tmp_path) == ["x.gguf"]


def test_a_download_that_is_gone_meanwhile_has_no_size(tmp_path: Path) -> None:
    info = new_search(tmp_path).unfinished(tmp_path / "x.gguf.part", "x.gguf")

    assert (info.size_bytes, info.problem) == (None, "x.gguf is not downloaded completely.")


def test_a_split_model_is_listed_once_and_a_missing_part_is_its_problem(tmp_path: Path) -> None:
    for name in ("a-00001-of-00002", "a-00002-of-00002", "b-00002-of-00003"):
        write_gguf(tmp_path / f"{name}.gguf")

    a, b = new_search(tmp_path).models(tmp_path, lambda path: path.name)

    assert (a.reference, a.name, a.problem) == ("a-00001-of-00002.gguf", "a", None)
    assert b.problem is not None
    assert b.problem.startswith("2 of the 3 parts of the model are missing: b-00001-of-00003.gguf")


def test_a_llamafile_is_described_by_the_weights_in_it(tmp_path: Path) -> None:
    make_llamafile(tmp_path / "x.llamafile", DEMO, None, Path("llama-server"))

    (info,) = new_search(tmp_path).models(tmp_path, lambda path: path.name)

    assert (info.reference, info.architecture, info.problem) == ("x.llamafile", "llama", None)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_nobody_can_type_is_shown_with_escapes(tmp_path: Path) -> None:
    for name in (b"\xff.gguf", b"a\nb.gguf", b"\x1b[2J.gguf"):
        shutil.copy(os.fsencode(DEMO), os.path.join(os.fsencode(tmp_path), name))  # noqa: PTH118 - a Path has no bytes

    found = list(new_search(tmp_path).models(tmp_path, lambda path: path.name))

    assert {info.reference for info in found} == {r"\udcff.gguf", r"a\nb.gguf", r"\x1b[2J.gguf"}
    assert [info.problem for info in found] == [None] * 3
