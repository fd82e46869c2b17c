import json
import os
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults, key_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "probes.json"


@pytest.mark.parametrize("passed", [True, False])
def test_a_result_is_stored(path: Path, passed: bool) -> None:
    ProbeResults(path).store("a", passed=passed)

    assert ProbeResults(path).get("a") is passed
    assert ProbeResults(path).get("b") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut off", "list", "binary", "deep nesting"],
)
def test_a_file_that_makes_no_sense_is_written_anew(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    ProbeResults(path).store("a", passed=False)

    assert json.loads(path.read_text()) == {"a": False}


def test_only_the_newest_results_are_stored(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({str(number): True for number in range(1000)}))

    ProbeResults(path).store("new", passed=False)

    stored = list(json.loads(path.read_text()).items())
    assert (len(stored), stored[0], stored[-1]) == (1000, ("1", True), ("new", False))


def test_a_file_that_cannot_be_written_is_no_error(path: Path) -> None:
    path.parent.touch()
    results = ProbeResults(path)

    results.store("a", passed=True)

    assert results.get("a") is None


def test_results_can_be_removed(path: Path) -> None:
    results = ProbeResults(path)
    results.store("a", passed=True)

    freed = [results.clear(), results.clear()]

    assert freed == [len('{"a": true}'), 0]
    assert results.get("a") is None


def test_they_are_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert str(tmp_path) in repr(ProbeResults())


def test_a_key_names_the_build_and_the_rest(lib: Library) -> None:
    assert key_of(lib) == key_of(lib) != key_of(lib, "file", 1) != key_of(lib, "file", 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_place_of_the_file_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    results = ProbeResults(path)

    found = results.get("a")
    results.store("a", passed=True)

    assert found is None
    assert results.get("a") is True


def test_a_folder_in_the_place_of_the_file_is_no_error(path: Path) -> None:
    path.mkdir(parents=True)
    results = ProbeResults(path)

    results.store("a", passed=True)

    assert results.get("a") is None
    assert results.clear() == 0


def test_what_was_found_of_a_file_goes_with_it(path: Path, lib: Library, tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept.gguf", tmp_path / "gone.gguf"
    keys = [key_of(lib, subject=file) for file in (kept, gone)]
    results = ProbeResults(path)
    for file, key in zip((kept, gone), keys, strict=True):
        file.touch()
        results.store(key, passed=True)
    gone.unlink()

    results.store("a", passed=True)
    results.store("b no subject", passed=True)
    results.store("c", passed=True)

    assert json.loads(path.read_text()) == {keys[0]: True, "a": True, "c": True}
