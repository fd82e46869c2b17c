import os
import stat
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from localllm_magics.engines.cache_folder import cache_folder, make_private, open_regular, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the caches of users are who have no home."""

    def no_entry(user: int) -> NoReturn:
        raise KeyError(user)

    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"localllm-magics-{os.getuid()}"


@pytest.mark.skipif(os.name == "nt", reason="each user has a home there")
def test_without_a_home_it_is_in_the_temporary_folder(without_home: Path) -> None:
    assert [cache_folder(), cache_folder()] == [without_home] * 2
    assert mode(without_home) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="each user has a home there")
@pytest.mark.parametrize("other", ["a link", "a file"])
def test_what_another_user_has_put_there_is_not_used(without_home: Path, other: str) -> None:
    without_home.symlink_to(without_home.parent) if other == "a link" else without_home.touch()

    with pytest.raises(OSError, match="Not a directory"):
        write_private(cache_folder() / "file", b"1")


def test_folders_and_files_are_for_their_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"

    write_private(file, b"1")

    assert [mode(path) for path in (tmp_path / "a", tmp_path / "a" / "b", file)] == [0o700, 0o700, 0o600]


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_private(tmp_path)

    assert mode(tmp_path) == 0o700


def test_a_folder_that_the_user_has_linked_to_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "link").symlink_to("elsewhere")

    make_private(tmp_path / "link")

    assert mode(tmp_path / "elsewhere") == 0o755


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    with pytest.raises(OSError, match="File exists"):
        make_private(tmp_path / "a")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"precious")
    link.symlink_to(victim)

    write_private(link, b"new")

    assert (victim.read_bytes(), link.is_symlink(), link.read_bytes()) == (b"precious", False, b"new")


def test_what_cannot_be_replaced_stays_and_no_rest_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "folder", b"new")

    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="is no file"):
        open_regular(tmp_path / "pipe")
