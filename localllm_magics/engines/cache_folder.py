"""Where this user's caches are, and how their files are read and written: whatever lies there, nothing waits for it."""

import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def cache_folder() -> Path:
    """The folder of everything that is stored to be faster the next time."""
    import platformdirs

    try:
        return platformdirs.user_cache_path("localllm-magics")
    except RuntimeError:  # this user has no home, as in containers that run under a number
        return _temporary_folder(Path(tempfile.gettempdir()))


def _temporary_folder(temporary: Path) -> Path:
    """This user's own folder in TEMPORARY; where another user has made that, one in which nothing can be stored."""
    user: int = getattr(os, "getuid", int)()
    folder = temporary / f"localllm-magics-{user}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user:
            return folder
    return Path(os.devnull, folder.name)


def make_private(folder: Path) -> None:
    """Make FOLDER and those above it that are missing, for this user alone.

    Raises:
        OSError: It cannot be made.
    """
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    for above in (*reversed(missing), folder):
        above.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_symlink():  # an older version left it open to others
        with suppress(OSError):
            folder.chmod(0o700)


def open_regular(path: Path) -> BinaryIO:
    """The file at PATH, to read.

    Raises:
        OSError: It cannot be read, or is a pipe or a device, for which an open could wait for ever.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no file")
    return open(handle, "rb")  # noqa: PTH123 - it is open


def read_json(path: Path, most_bytes: int) -> object:
    """What the file at PATH holds, of which no more than MOST_BYTES are read; None where it cannot be read."""
    try:
        with open_regular(path) as file:
            return json.loads(file.read(most_bytes))
    except (OSError, ValueError, RecursionError):
        return None


def remove_file(path: Path) -> int:
    """Remove the file at PATH; the bytes that were freed."""
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def write_private(path: Path, data: bytes) -> None:
    """Put a new file with DATA, which only this user can read, in the place of what is at PATH.

    Raises:
        OSError: It cannot be written; nothing has changed.
    """
    make_private(path.parent)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - it is open
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
