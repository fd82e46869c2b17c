"""The folders of a user, which other programs derive theirs from, and what is written in their settings."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.engines.cache_folder import open_regular

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A user's folders.

    Args:
        folder: The home folder itself.
        system: The operating system, as in `sys.platform`.
        variables: The environment.
    """

    folder: Path
    system: str
    variables: Mapping[str, str]

    @classmethod
    def current(cls) -> "Home":
        """That of whoever runs this process."""
        folder = os.path.expanduser("~")  # noqa: PTH111 - unlike Path's, it does not fail where there is no home
        return cls(folder=Path(folder), system=sys.platform, variables=os.environ)

    @property
    def config(self) -> Path:
        """Where programs keep settings; on Windows what follows a user from machine to machine."""
        return self._choose("XDG_CONFIG_HOME", ".config", "APPDATA", "AppData/Roaming")

    @property
    def data(self) -> Path:
        """Where programs keep data; on Windows what follows a user from machine to machine."""
        return self._choose("XDG_DATA_HOME", ".local/share", "APPDATA", "AppData/Roaming")

    @property
    def local_data(self) -> Path:
        """Where programs keep data; on Windows what stays on this machine."""
        return self._choose("XDG_DATA_HOME", ".local/share", "LOCALAPPDATA", "AppData/Local")

    @property
    def cache(self) -> Path:
        """Where programs keep what can be made again."""
        return self._choose("XDG_CACHE_HOME", ".cache", "LOCALAPPDATA", "AppData/Local", "Library/Caches")

    def named(self, variable: str, *parts: str) -> list[Path]:
        """The folder that VARIABLE names, and PARTS below it; nothing where it is not set."""
        value = self.variables.get(variable, "").strip().strip("\"'")
        return [self.absolute(value).joinpath(*parts)] if value else []

    def absolute(self, text: str) -> Path:
        """A path that a user wrote, which may begin with `~`."""
        return self.folder.joinpath(text[2:]) if text[:2] in ("~", "~/", "~\\") else Path(text)

    def _choose(
        self, xdg: str, unix: str, variable: str, windows: str, mac: str = "Library/Application Support"
    ) -> Path:
        if self.system == "darwin":
            return self.folder / mac
        name, default = (variable, windows) if self.system == "win32" else (xdg, unix)
        return next(iter(self.named(name)), self.folder / default)


def read_text(path: Path) -> str:
    """The beginning of a small text file; nothing where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def read_setting(path: Path, name: str) -> str:
    """The text under NAME in a JSON object in a file; nothing where there is none."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return ""
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else ""
