import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.catalog.reference import resolve
from localllm_magics.catalog.server_reference import resolve_server_reference
from localllm_magics.catalog.sources.ollama import describe_stored
from localllm_magics.core.model_info import FileStamp
from localllm_magics.engines.file_stamp import has_changed, is_same_file, read_stamp
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.ollama_stores import LIBRARY, blob_of, write_model
from tests.server.llamafile_stand_in import make_llamafile


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_equal(path: Path) -> None:
    status = path.stat()
    shutil.copy(path, path.with_name("new"))
    os.utime(path.with_name("new"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_name("new").replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def test_a_stamp_is_size_time_and_inode(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF")
    touch(path)

    assert read_stamp(path) == FileStamp(path=path, size_bytes=4, modified_ns=0, inode=path.stat().st_ino)


@pytest.mark.parametrize("name", ["missing.gguf", "a\0b.gguf"])
def test_what_is_not_there_has_no_stamp(tmp_path: Path, name: str) -> None:
    assert read_stamp(tmp_path / name) is None


@pytest.mark.parametrize("change", [rewrite, replace_by_equal, touch])
@pytest.mark.parametrize("part", [1, 2])
def test_each_part_of_a_model_counts(tmp_path: Path, change: Callable[[Path], None], part: int) -> None:
    for number in (1, 2):
        write_gguf(tmp_path / f"x-0000{number}-of-00002.gguf")
    info = resolve("x-00001-of-00002.gguf", tmp_path)

    assert not has_changed(info)
    change(tmp_path / f"x-0000{part}-of-00002.gguf")
    assert has_changed(info)


def test_a_file_that_is_gone_has_not_changed(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf")
    info = resolve("x.gguf", tmp_path)
    path.unlink()

    assert not has_changed(info)


@pytest.mark.parametrize("scheme", ["", "llamafile:"])
def test_of_a_llamafile_it_is_the_llamafile_that_counts(tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "small.llamafile"
    make_llamafile(path, demo.PATH, None, Path("llama-server"))
    info = resolve_server_reference(f"llamafile:{path}", tmp_path) if scheme else resolve(str(path), tmp_path)

    assert not has_changed(info)
    touch(path)
    assert has_changed(info)


def test_of_a_stored_model_its_manifest_counts(store: Path) -> None:
    write_model(store, f"{LIBRARY}/x/latest")
    info = describe_stored("x")

    assert not has_changed(info)
    touch(write_model(store, f"{LIBRARY}/x/latest", layers=[("system", b"Be terse.")]))
    assert has_changed(info)
    assert describe_stored("x").path == info.path


def test_of_a_stored_model_its_weights_count(store: Path) -> None:
    manifest = write_model(store, f"{LIBRARY}/x/latest")
    info = describe_stored("x")

    touch(blob_of(store, manifest))
    assert has_changed(info)
    assert not has_changed(describe_stored("x"))


def test_the_bundled_model_has_a_stamp() -> None:
    assert resolve("demo", Path()).files == (read_stamp(DEMO),)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param("one", True, id="itself"),
        pytest.param("link", True, id="a link to it"),
        pytest.param("sub/../one", True, id="another way to write it"),
        pytest.param("two", False, id="another file"),
        pytest.param("gone", False, id="no file"),
        pytest.param("a\0b", False, id="no path"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_a_file_is_the_same_by_any_path(tmp_path: Path, other: str | None, expected: bool) -> None:
    for name in ("one", "two"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("one")

    assert is_same_file(tmp_path / "one", None if other is None else tmp_path / other) is expected


def test_a_file_that_is_gone_is_the_same_by_its_own_path(tmp_path: Path) -> None:
    assert is_same_file(tmp_path / "gone", tmp_path / "gone")
