"""Why a server process exited before it answered: found in its log."""

import re
from collections.abc import Sequence

from localllm_magics.core.errors import LoadFailed
from localllm_magics.core.hints import DOWNLOAD_AGAIN

_SIGKILL_STATUS = -9

_PORT_TAKEN = r"couldn't bind|could not bind|address already in use"
_MEMORY = ("there was not enough memory", "Load it with a smaller context, --ctx 2048 for one, or a smaller model.")
_REASONS: tuple[tuple[str, str, str], ...] = (
    (
        r"unknown model architecture: '[\w.-]{1,60}'",
        "it does not know the architecture of its model",
        "Get a newer llamafile of the model, or load its GGUF file.",
    ),
    (_PORT_TAKEN, "its port was taken by another program", "Load it again."),
    (r"out of memory|(failed|unable) to allocate|cannot allocate|bad_alloc", *_MEMORY),
    (
        r"unable to find an interpreter|run-detectors",
        "the system gave it to another program, WINE for one",
        "Install the loader of the format: https://github.com/mozilla-ai/llamafile#gotchas-and-troubleshooting",
    ),
    (
        r"permission denied|noexec",
        "no program may run from the folder for temporary files",
        "Type %env TMPDIR=FOLDER with a folder from which programs may run, then load it again.",
    ),
    (
        r"exec format error|cannot execute",
        "it was made for another kind of machine",
        "Get a llamafile for this machine, or load its GGUF file.",
    ),
    (
        r"invalid argument|unknown argument|unrecognized",
        "it does not know one of its arguments",
        "Get a newer llamafile.",
    ),
    (r"(failed to|error|unable to) load(ing)? model", "it could not load its model", DOWNLOAD_AGAIN),
)


def is_port_taken(lines: Sequence[str]) -> bool:
    """Whether the log says that another program had the port."""
    return re.search(_PORT_TAKEN, "\n".join(lines), re.IGNORECASE) is not None


def exit_error(name: str, status: int, lines: Sequence[str]) -> LoadFailed:
    """The error for the server process of the file NAME; STATUS is a `Popen.returncode`, LINES the end of its log."""
    text = "\n".join(lines)
    found = ((f": {reason}", hint) for pattern, reason, hint in _REASONS if re.search(pattern, text, re.IGNORECASE))
    is_killed = status == _SIGKILL_STATUS
    unknown = (f": {_MEMORY[0]}, perhaps", _MEMORY[1]) if is_killed else ("", "`%llm doctor` shows the set-up.")
    reason, hint = next(found, unknown)
    exited = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
    shown = "".join(f"\n  {line}" for line in lines[-5:])
    return LoadFailed(f"{name} {exited} before it answered{reason}.{shown}", hint)
