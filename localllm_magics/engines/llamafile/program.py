"""The program that a llamafile is: whether it can be started, how, and with which arguments."""

import contextlib
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, ModelNotFound
from localllm_magics.core.hints import LIST_MODELS
from localllm_magics.core.request import LoadOptions

ALL_LAYERS = 999
SUPERVISED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")))
"""What starts a command in such a way that nothing of it is left when this process ends, or closes the pipe to it."""

_SHELL = "/bin/sh"
_SCRIPTS = (b"MZqFpD", b"jartsr")
_PROGRAMS = (b"\x7fELF", b"#!")
_SECONDS = 10.0
_VERSION = re.compile(rb"\bllamafile v(\d{1,4})\.(\d{1,4})")
_FIRST_NEW = (0, 10)


def command_for(file: Path) -> list[str]:
    """What starts FILE: a shell, for the system itself does not know the format.

    Raises:
        ModelNotFound: Nothing is there.
        LoadFailed: It is no program, or must not be run.
    """
    if os.name == "nt":
        raise LoadFailed("On Windows a llamafile cannot be started from here.", _by_hand(file))
    start = _first_bytes(file)
    path = os.path.abspath(file)  # noqa: PTH100 - a link keeps its name, and a shell looks for bare names elsewhere
    if start.startswith(_SCRIPTS):
        return [_SHELL, path]
    if not start.startswith(_PROGRAMS):
        hint = f"%llm load {shlex.quote(str(file))}" if start.startswith(b"GGUF") else LIST_MODELS
        raise LoadFailed(f"{file.name} is not a llamafile: it is no program.", hint)
    if not os.access(path, os.X_OK):
        raise LoadFailed(f"{file.name} may not be run.", f"!chmod +x {shlex.quote(str(file))}")
    return [path]


def arguments_for(options: LoadOptions) -> list[str]:
    """The arguments that make a llamafile load its model with OPTIONS."""
    arguments = [] if options.ctx is None else ["-c", str(options.ctx)]
    layers = ALL_LAYERS if options.gpu_layers == "all" else options.gpu_layers
    arguments += [] if layers is None or layers == "auto" else ["-ngl", str(layers)]
    return arguments + ([] if options.threads is None else ["-t", str(options.threads)])


def is_of_old_generation(command: Sequence[str], log: Path) -> bool:
    """Whether the llamafile is one before 0.10; one that does not say is none.

    Its answer goes into LOG, which cannot fill up the memory of this process.
    """
    with log.open("w+b") as said:
        with (
            subprocess.Popen(
                [*SUPERVISED, *command, "--version"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            ) as probe,
            contextlib.suppress(subprocess.TimeoutExpired),
        ):
            probe.wait(_SECONDS)
        said.seek(0)
        version = _VERSION.search(said.read(1 << 14))
    return version is not None and (int(version[1]), int(version[2])) < _FIRST_NEW


def _first_bytes(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise LoadFailed(f"{file.name} is not a file.", LIST_MODELS)
        with file.open("rb") as opened:
            return opened.read(8)
    except FileNotFoundError as exc:
        raise ModelNotFound(f"There is no file {file}.", LIST_MODELS) from exc
    except (OSError, ValueError) as exc:
        raise LoadFailed(f"{file} cannot be read: {getattr(exc, 'strerror', None) or exc}.", LIST_MODELS) from exc


def _by_hand(file: Path) -> str:
    return f"Start it in a terminal: {file.name} --server. Then type: %llm load http://127.0.0.1:8080"
