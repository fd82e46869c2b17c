"""What lies in the cache of weights may be changed, or be no file at all."""

import os
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.weights_cache import extract_weights
from tests.engines.kernel.llamafiles import GGUF, model, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.llamafile"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_copy_that_was_changed_is_replaced(path: Path, cache: Path) -> None:
    write(path, model())
    extract_weights(path, cache).write_bytes(GGUF[:-1] + b"x")

    assert extract_weights(path, cache).read_bytes() == GGUF


def test_copies_are_for_their_user_alone(path: Path, cache: Path) -> None:
    copy = extract_weights(write(path, model()), cache)

    assert [oct(each.stat().st_mode & 0o777) for each in (cache, copy)] == ["0o700", "0o600"]


def in_its_place(copy: Path, what: str) -> None:
    copy.unlink()
    if what == "pipe":
        os.mkfifo(copy)
    elif what == "folder":
        (copy / "sub").mkdir(parents=True)
    else:
        copy.symlink_to(copy.with_name("victim"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("what", ["pipe", "folder", "link"])
def test_whatever_lies_in_the_place_of_a_copy_is_replaced(path: Path, cache: Path, what: str) -> None:
    copy = extract_weights(write(path, model()), cache)
    victim = copy.with_name("victim")
    victim.write_bytes(b"precious")
    in_its_place(copy, what)

    again = extract_weights(path, cache)

    assert (again, again.is_symlink(), again.read_bytes()) == (copy, False, GGUF)
    assert victim.read_bytes() == b"precious"
