"""Whether a file is still the one that was read."""

import os
from pathlib import Path

from localllm_magics.core.model_info import FileStamp, ModelInfo
from localllm_magics.core.sanitizer.control import to_printable


def read_stamp(path: Path) -> FileStamp | None:
    """The stamp of a file; None where there is none, or it cannot be reached."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileStamp(
        path=path,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        inode=status.st_ino,
        device=status.st_dev,
    )


def has_changed(info: ModelInfo) -> bool:
    """Whether another file lies now where one of the model's was; one that is gone leaves a loaded model usable."""
    return any(read_stamp(file.path) not in (file, None) for file in info.files)


def is_unchanged(info: ModelInfo) -> bool:
    """Whether all files of the model are known, and lie where they were."""
    return bool(info.files) and all(read_stamp(file.path) == file for file in info.files)


def identity(info: ModelInfo) -> tuple[int, int] | None:
    """What is equal for descriptions of the same file, however it was reached; None where nothing tells."""
    stamps = (file for file in info.files if file.path == info.path and file.inode)
    return next(((file.device, file.inode) for file in stamps), None)


def is_same_file(one: Path | None, other: Path | None) -> bool:
    """Whether both are one file now, however it is written: through a link, for one."""
    if one is None or other is None:
        return False
    try:
        return one == other or one.samefile(other)
    except (OSError, ValueError):
        return False


def broken_link(path: Path, typed: str) -> str:
    """What is wrong with PATH where a link on its way leads nowhere; else nothing.

    Args:
        path: Where nothing was found.
        typed: As the user wrote it.
    """
    for link in (path, *path.parents):
        if os.path.islink(link) and not os.path.exists(link):  # noqa: PTH114, PTH110 - unlike Path's, they never fail
            target, shown = os.readlink(link), typed if link == path else str(link)  # noqa: PTH115 - it is shown
            return f"{to_printable(shown)} is a link to {to_printable(target)}, which does not exist."
    return ""
