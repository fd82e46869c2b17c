import errno
import os

import pytest

from localllm_magics.core.errors import BadOption, NotEnoughMemory, SetupError
from localllm_magics.core.exhausted import in_words, to_setup_error


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        pytest.param(
            RuntimeError("can't start new thread"),
            "The system allows no more threads",
            "restart the kernel",
            id="threads",
        ),
        pytest.param(MemoryError(), "There is not enough memory.", "%llm unload", id="memory"),
        pytest.param(
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/x"),
            "The system refused /cache/x: No space left on device.",
            "Free some space",
            id="disk",
        ),
        pytest.param(
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
            "The system refused: Too many open files.",
            "ulimit -n 4096",
            id="files",
        ),
        pytest.param(
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "The system refused: No usable temporary directory",
            "%env TMPDIR=FOLDER",
            id="temporary folder",
        ),
        pytest.param(
            OSError(errno.EROFS, os.strerror(errno.EROFS)),
            "The system refused: Read-only file system.",
            "%env XDG_CACHE_HOME=FOLDER",
            id="read-only",
        ),
    ],
)
def test_what_the_machine_has_run_out_of_is_said_in_words(error: Exception, message: str, hint: str) -> None:
    with pytest.raises(SetupError) as caught, in_words():
        raise error

    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint
    assert caught.value.__cause__ is error


def test_too_little_memory_is_an_error_of_its_own() -> None:
    assert isinstance(to_setup_error(MemoryError()), NotEnoughMemory)


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), RecursionError(), BadOption("no"), ValueError(), OSError("odd")], ids=repr
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, in_words():
        raise error

    assert caught.value is error
    assert to_setup_error(error) is None
