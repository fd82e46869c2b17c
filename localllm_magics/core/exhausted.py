"""What this machine has run out of, in words: threads, memory, space, files."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from localllm_magics.core.errors import NotEnoughMemory, SetupError

_RESTART = "End what else runs, or restart the kernel, then try again."
_SPACE = "Free some space, then try again."
_FILES = "Restart the kernel, or start Jupyter after: ulimit -n 4096"
_WRITABLE = "Choose a cache folder that can be written: %env XDG_CACHE_HOME=FOLDER"
_HINTS = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: _RESTART,
    errno.ENOMEM: _RESTART,
}


def to_setup_error(exc: BaseException) -> SetupError | None:
    """EXC in words, where the machine is its cause; None where it is not."""
    if isinstance(exc, MemoryError):
        return NotEnoughMemory("There is not enough memory.", "Close what needs much of it: %llm unload")
    if isinstance(exc, RuntimeError) and "start new thread" in str(exc):
        count = threading.active_count()
        return SetupError(f"The system allows no more threads; {count} of this process run.", _RESTART)
    if not isinstance(exc, OSError):
        return None
    what, hint = exc.strerror or str(exc), _HINTS.get(exc.errno or 0)
    if "temporary directory" in what:
        hint = "Name a folder for temporary files: %env TMPDIR=FOLDER"
    if hint is None:
        return None
    return SetupError(f"The system refused{f' {exc.filename}' if exc.filename else ''}: {what}.", hint)


@contextmanager
def in_words() -> Iterator[None]:
    """Raise `SetupError` in the place of an error of the block that `to_setup_error` knows."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as exc:
        error = to_setup_error(exc)
        if error is None:
            raise
        raise error from exc
