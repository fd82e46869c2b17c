import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog import header_cache as module
from localllm_magics.catalog.header_cache import FORMAT, MOST_FILES, HeaderCache
from localllm_magics.core.model_info import ModelInfo
from tests.catalog.gguf_files import DEMO, write_gguf

HUGE = 10**400
Damage = Callable[[dict[str, object]], object]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(DEMO, tmp_path / "x.gguf"))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "headers.json"


def inspect(cache: HeaderCache, path: Path) -> ModelInfo:
    return cache.inspect(path, reference=path.name, source="folder")


def fill(stored: Path, *paths: Path) -> list[ModelInfo]:
    """What a kernel finds out about the files at PATHS, and stores."""
    cache = HeaderCache(stored)
    found = [inspect(cache, path) for path in paths]
    cache.save()
    return found


def overwrite(path: Path, data: bytes) -> None:
    """Change the content of a file, but neither its size, its time, nor its inode, so that nobody can notice."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_is_read_once(model: Path, stored: Path) -> None:
    cache = HeaderCache(stored)
    before = inspect(cache, model)
    overwrite(model, b"spoilt")

    assert inspect(cache, model) == before
    assert before.problem is None


def test_the_next_kernel_does_not_read_it_either(model: Path, stored: Path) -> None:
    (before,) = fill(stored, model)
    overwrite(model, b"spoilt")

    after = inspect(HeaderCache(stored), model)

    assert after == before
    assert (after.shape, after.files, after.defaults) == (before.shape, before.files, before.defaults)
    assert after.shape is not None


def test_the_name_in_a_list_is_that_of_who_asks(model: Path, stored: Path) -> None:
    cache = HeaderCache(stored)
    inspect(cache, model)

    info = cache.inspect(model, reference="org/repo:x", source="huggingface")

    assert (info.reference, info.source) == ("org/repo:x", "huggingface")


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_file_that_has_changed_is_read_again(model: Path, stored: Path, change: str) -> None:
    fill(stored, model)
    if change == "size":
        model.write_bytes(model.read_bytes()[:-1])
    elif change == "time":
        os.utime(model, ns=(0, 1))
        overwrite(model, b"spoilt")
    else:
        copy = Path(shutil.copy(model, model.with_name("y.gguf")))
        shutil.copystat(model, copy)
        overwrite(copy, b"spoilt")
        copy.replace(model)

    assert inspect(HeaderCache(stored), model).problem is not None


def test_what_is_wrong_with_a_file_is_kept_too(tmp_path: Path, stored: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_text("hello")
    fill(stored, path)
    overwrite(path, b"\x80\x02\x00\x00")

    assert inspect(HeaderCache(stored), path).problem == "x.gguf is not a GGUF file: it is a text file."


def test_a_missing_part_is_looked_for_every_time(tmp_path: Path, stored: Path) -> None:
    first = write_gguf(tmp_path / "x-00001-of-00002.gguf")
    cache = HeaderCache(stored)
    before = inspect(cache, first)
    write_gguf(tmp_path / "x-00002-of-00002.gguf")

    assert before.problem is not None
    assert inspect(cache, first).problem is None


def test_a_link_that_leads_nowhere_is_looked_for_every_time(tmp_path: Path, model: Path, stored: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to("later.gguf")
    cache = HeaderCache(stored)
    before = inspect(cache, link)
    model.rename(tmp_path / "later.gguf")

    assert before.problem == f"{link} is a link to later.gguf, which does not exist."
    assert inspect(cache, link).problem is None


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    model: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = HeaderCache(stored)

    def described(path: Path, **named: str) -> ModelInfo:
        monkeypatch.undo()
        info = inspect(HeaderCache(stored), path)
        with path.open("ab") as file:
            file.write(b"more")
        return info

    monkeypatch.setattr("localllm_magics.catalog.header_cache.describe_file", described)
    grown = inspect(cache, model)
    cache.save()

    assert grown.problem is None
    assert not stored.exists()


def test_a_file_that_cannot_be_read_for_want_of_memory_says_so(
    model: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(path: Path, **named: str) -> ModelInfo:
        raise MemoryError

    monkeypatch.setattr("localllm_magics.catalog.header_cache.describe_file", described)

    assert inspect(HeaderCache(stored), model).problem == "There is not enough memory to read the header of x.gguf."


def test_nothing_new_writes_nothing(model: Path, stored: Path) -> None:
    fill(stored, model)
    written = stored.stat().st_ino

    fill(stored, model)

    assert stored.stat().st_ino == written


def test_two_kernels_keep_what_both_have_found(tmp_path: Path, stored: Path) -> None:
    paths = [Path(shutil.copy(DEMO, tmp_path / f"{name}.gguf")) for name in "ab"]
    caches = [HeaderCache(stored), HeaderCache(stored)]
    for cache, path in zip(caches, paths, strict=True):
        inspect(cache, path)
    for cache in caches:
        cache.save()
    for path in paths:
        overwrite(path, b"spoilt")

    assert [inspect(HeaderCache(stored), path).problem for path in paths] == [None, None]


def test_files_that_are_gone_are_forgotten(tmp_path: Path, stored: Path) -> None:
    paths = [tmp_path / "models" / name for name in ("a.gguf", "b/c.gguf", "d.gguf")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DEMO, path)
    elsewhere = Path(shutil.copy(DEMO, tmp_path / "e.gguf"))
    fill(stored, *paths, elsewhere)
    cache = HeaderCache(stored)
    inspect(cache, paths[0])

    cache.forget_missing({str(tmp_path / "models"): {"d.gguf"}})
    cache.save()

    assert list(json.loads(stored.read_text())["files"]) == [str(paths[2]), str(elsewhere)]


def test_no_more_than_so_many_files_are_kept_the_newest(model: Path, stored: Path) -> None:
    fill(stored, model)
    content = json.loads(stored.read_text())
    content["files"] = {f"/{number}": None for number in range(MOST_FILES)}
    stored.write_text(json.dumps(content))

    fill(stored, model)

    kept = list(json.loads(stored.read_text())["files"])
    assert (len(kept), kept[0], kept[-1]) == (MOST_FILES, "/1", str(model))


def test_no_more_bytes_are_kept_than_are_read(model: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(stored, model)
    content = json.loads(stored.read_text())
    content["files"] = {f"/{number}": "x" * 1000 for number in range(8)}
    stored.write_text(json.dumps(content))
    monkeypatch.setattr(module, "_MOST_BYTES", stored.stat().st_size)

    fill(stored, model)

    assert list(json.loads(stored.read_text())["files"]) == ["/5", "/6", "/7", str(model)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no JSON", id="no JSON"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"format": "0", "files": {}}', id="of another version"),
        pytest.param(b'{"format": "%s", "files": []}' % FORMAT.encode(), id="no files"),
        pytest.param(b"[" * 1_000_000, id="too deep"),
        pytest.param(b'{"format": ' + b"1" * 10_000 + b"}", id="a long number"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_a_damaged_store_is_replaced(model: Path, stored: Path, content: bytes) -> None:
    stored.parent.mkdir()
    stored.write_bytes(content)

    (info,) = fill(stored, model)

    assert info.problem is None
    assert json.loads(stored.read_text())["format"] == FORMAT


def changed(**values: object) -> Damage:
    return lambda entry: entry | values


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda entry: None, id="nothing"),
        pytest.param(lambda entry: [entry], id="a list"),
        pytest.param(lambda entry: {}, id="an empty object"),
        pytest.param(changed(name=1), id="a name that is a number"),
        pytest.param(changed(name="\x1b[2J"), id="a name with control characters"),
        pytest.param(changed(problem="x" * 10_000), id="a long problem"),
        pytest.param(changed(layers=True), id="layers that are true"),
        pytest.param(changed(parameters=-1), id="a negative number"),
        pytest.param(changed(kind="virus"), id="an unknown kind"),
        pytest.param(changed(has_chat_template=1), id="a truth that is a number"),
        pytest.param(changed(stamps=[]), id="no stamps"),
        pytest.param(changed(stamps=[[1, 2]]), id="a short stamp"),
        pytest.param(changed(stamps=7), id="stamps that are a number"),
        pytest.param(changed(sampling={"temperature": -1}), id="an impossible temperature"),
        pytest.param(changed(sampling=None), id="no sampling"),
        pytest.param(changed(sampling=""), id="sampling that is a text"),
        pytest.param(changed(sampling={"max_tokens": HUGE}), id="a number of tokens that no computer has"),
        pytest.param(changed(size_bytes=HUGE), id="a size that no file has"),
        pytest.param(changed(parameters=HUGE), id="more parameters than any model has"),
        pytest.param(changed(stamps=[[HUGE, 0, 0]]), id="a stamp that no file has"),
        pytest.param(changed(shape={"layers": 1}), id="a wrong shape"),
    ],
)
def test_a_damaged_entry_is_read_anew_from_the_model(model: Path, stored: Path, damage: Damage) -> None:
    (before,) = fill(stored, model)
    content = json.loads(stored.read_text())
    content["files"][str(model)] = damage(content["files"][str(model)])
    stored.write_text(json.dumps(content))

    assert inspect(HeaderCache(stored), model) == before


@pytest.mark.parametrize("wrong", ["a folder in its place", "a file for its folder"])
def test_a_store_that_cannot_be_written_is_done_without(model: Path, stored: Path, wrong: str) -> None:
    if wrong.startswith("a folder"):
        stored.mkdir(parents=True)
    else:
        stored.parent.touch()

    (info,) = fill(stored, model)

    assert info.problem is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_disk_is_done_without(model: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(data)

    monkeypatch.setattr("localllm_magics.catalog.header_cache.write_private", write)

    (info,) = fill(stored, model)

    assert info.problem is None


def test_names_that_are_no_text_are_kept(tmp_path: Path, stored: Path) -> None:
    path = Path(shutil.copy(DEMO, tmp_path / "\udcff.gguf"))
    (before,) = fill(stored, path)
    overwrite(path, b"spoilt")

    assert inspect(HeaderCache(stored), path) == before


def test_without_a_path_it_is_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert HeaderCache().path.name == "headers.json"


def test_descriptions_without_a_shape_are_kept(tmp_path: Path, stored: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", architecture="clip")
    (before,) = fill(stored, path)

    assert before.shape is None
    assert inspect(HeaderCache(stored), path) == replace(before)
