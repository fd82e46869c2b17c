"""Whether a file is still the one that was read."""

from pathlib import Path

from localllm_magics.core.model_info import FileStamp, ModelInfo


def read_stamp(path: Path) -> FileStamp | None:
    """The stamp of a file; None where there is none, or it cannot be reached."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FileStamp(path=path, size_bytes=status.st_size, modified_ns=status.st_mtime_ns, inode=status.st_ino)


def has_changed(info: ModelInfo) -> bool:
    """Whether another file lies now where one of the model's was; one that is gone leaves a loaded model usable."""
    return any(read_stamp(file.path) not in (file, None) for file in info.files)
