import os
import sys
from pathlib import Path

import pytest

from localllm_magics.catalog.sources.home import Home, read_setting, read_text
from tests.catalog.sources.searching import home_at

USER = Path("/home/me")


@pytest.mark.parametrize(
    ("system", "folders"),
    [
        pytest.param("linux", (".config", ".local/share", ".local/share", ".cache"), id="Linux"),
        pytest.param("darwin", (*["Library/Application Support"] * 3, "Library/Caches"), id="macOS"),
        pytest.param("win32", ("AppData/Roaming", "AppData/Roaming", "AppData/Local", "AppData/Local"), id="Windows"),
    ],
)
def test_each_system_has_its_folders(system: str, folders: tuple[str, ...]) -> None:
    home = home_at(USER, system)

    assert (home.config, home.data, home.local_data, home.cache) == tuple(USER / folder for folder in folders)


@pytest.mark.parametrize(
    ("system", "variables", "folders"),
    [
        pytest.param(
            "linux",
            {"XDG_CONFIG_HOME": "/1", "XDG_DATA_HOME": "/2", "XDG_CACHE_HOME": "/4"},
            ("/1", "/2", "/2", "/4"),
            id="Linux",
        ),
        pytest.param("win32", {"APPDATA": "/1", "LOCALAPPDATA": "/3"}, ("/1", "/1", "/3", "/3"), id="Windows"),
    ],
)
def test_variables_move_them(system: str, variables: dict[str, str], folders: tuple[str, ...]) -> None:
    home = home_at(USER, system, **variables)

    assert (home.config, home.data, home.local_data, home.cache) == tuple(map(Path, folders))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("/a", ["/a/b"], id="a path"),
        pytest.param(' "/a" ', ["/a/b"], id="in quotes"),
        pytest.param("~/a", ["/home/me/a/b"], id="of the user"),
        pytest.param("~", ["/home/me/b"], id="the user's own"),
        pytest.param(" ", [], id="nothing"),
    ],
)
def test_a_variable_names_a_folder(value: str, found: list[str]) -> None:
    assert home_at(USER, X=value).named("X", "b") == list(map(Path, found))


def test_the_current_home_is_that_of_this_process() -> None:
    home = Home.current()

    assert (home.folder, home.system, home.variables) == (Path("~").expanduser(), sys.platform, os.environ)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(b'{"a": "b"}', "b", id="a text"),
        pytest.param(b'{"a": 1}', "", id="a number"),
        pytest.param(b'["a"]', "", id="no object"),
        pytest.param(b"{", "", id="no JSON"),
        pytest.param(b"[" * 100_000, "", id="too deep"),
        pytest.param(b'{"a": "' + b"x" * (1 << 20) + b'"}', "", id="too long"),
    ],
)
def test_a_setting_is_a_text_in_an_object(tmp_path: Path, content: bytes, value: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)

    assert read_setting(path, "a") == value


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with a path")
def test_what_is_no_file_has_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert [read_text(tmp_path / name) for name in ("pipe", "missing", "a\0b")] == ["", "", ""]
