"""Why a server process exited before it answered: found in its log."""

import re
from collections.abc import Sequence

from localllm_magics.core.errors import LoadFailed
from localllm_magics.core.hints import DOWNLOAD_AGAIN

_SHOWN_LINES = 5
_SIGKILL_STATUS = -9

_PORT_TAKEN = re.compile(r"couldn't bind|could not bind|address already in use", re.IGNORECASE)
_MEMORY = (
    "there was not enough memory",
    "Load it with a smaller context, --ctx 2048 for one, or a smaller model.",
)
_REASONS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"unknown model architecture: '[\w.-]{1,60}'"),
        "it does not know the architecture of its model",
        "Get a newer llamafile of the model, or load its GGUF file.",
    ),
    (_PORT_TAKEN, "its port was taken by another program", "Load it again."),
    (
        re.compile(r"out of memory|(failed|unable) to allocate|cannot allocate|bad_alloc", re.IGNORECASE),
        *_MEMORY,
    ),
    (
        re.compile(r"unable to find an interpreter|run-detectors", re.IGNORECASE),
        "the system gave it to another program, WINE for one",
        "Install the loader of the format: https://github.com/mozilla-ai/llamafile#gotchas-and-troubleshooting",
    ),
    (
        re.compile(r"permission denied|noexec", re.IGNORECASE),
        "no program may run from the folder for temporary files",
        "Type %env TMPDIR=FOLDER with a folder from which programs may run, then load it again.",
    ),
    (
        re.compile(r"exec format error|cannot execute", re.IGNORECASE),
        "it was made for another kind of machine",
        "Get a llamafile for this machine, or load its GGUF file.",
    ),
    (
        re.compile(r"invalid argument|unknown argument|unrecognized", re.IGNORECASE),
        "it does not know one of its arguments",
        "Get a newer llamafile.",
    ),
    (
        re.compile(r"(failed to|error|unable to) load(ing)? model", re.IGNORECASE),
        "it could not load its model",
        DOWNLOAD_AGAIN,
    ),
)


def is_port_taken(lines: Sequence[str]) -> bool:
    """Whether the log says that another program had the port."""
    return _PORT_TAKEN.search("\n".join(lines)) is not None


def exit_error(name: str, status: int, lines: Sequence[str]) -> LoadFailed:
    """The error for a server process that exited.

    Args:
        name: The file's.
        status: As in `Popen.returncode`.
        lines: The last lines of its log.
    """
    text = "\n".join(lines)
    found = ((f": {reason}", hint) for pattern, reason, hint in _REASONS if pattern.search(text))
    is_killed = status == _SIGKILL_STATUS
    unknown = (f": {_MEMORY[0]}, perhaps", _MEMORY[1]) if is_killed else ("", "`%llm doctor` shows the set-up.")
    reason, hint = next(found, unknown)
    exited = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
    shown = "".join(f"\n  {line}" for line in lines[-_SHOWN_LINES:])
    return LoadFailed(f"{name} {exited} before it answered{reason}.{shown}", hint)
