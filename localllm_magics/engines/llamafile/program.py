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
from localllm_magics.core.request import ALL_LAYERS, LoadOptions

SUPERVISED = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")))
"""Prefix of a command: all its processes end when this process ends or closes the pipe to the supervisor."""

_SECRET = re.compile(r".*_(KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE | re.DOTALL)
_APE_MAGIC = (b"MZqFpD", b"jartsr")  # Actually Portable Executable, which a shell starts
_NATIVE_MAGIC = (b"\x7fELF", b"#!")
_VERSION = re.compile(rb"\bllamafile v(\d{1,4})\.(\d{1,4})")


def command_for(file: Path, system: str = os.name) -> list[str]:
    """The command that starts FILE: through a shell where the SYSTEM, an `os.name`, does not know the format.

    Raises:
        ModelNotFound: Nothing is there.
        LoadFailed: It is not a program, or may not be run.
    """
    if system == "nt":
        hint = f"Start it in a terminal: {file.name} --server. Then type: %llm load http://127.0.0.1:8080"
        raise LoadFailed("On Windows a llamafile cannot be started from here.", hint)
    start = _first_bytes(file)
    path = os.path.abspath(file)  # noqa: PTH100 - a link keeps its name, and a shell looks for bare names elsewhere
    if start.startswith(_APE_MAGIC):
        return ["/bin/sh", path]
    if not start.startswith(_NATIVE_MAGIC):
        hint = f"%llm load {shlex.quote(str(file))}" if start.startswith(b"GGUF") else LIST_MODELS
        raise LoadFailed(f"{file.name} is not a llamafile: it is not a program.", hint)
    if not os.access(path, os.X_OK):
        raise LoadFailed(f"{file.name} may not be run.", f"!chmod +x {shlex.quote(str(file))}")
    return [path]


def arguments_for(options: LoadOptions) -> list[str]:
    """The arguments that make a llamafile load its model with OPTIONS."""
    arguments = [] if options.ctx is None else ["-c", str(options.ctx)]
    layers = ALL_LAYERS if options.gpu_layers == "all" else options.gpu_layers
    arguments += [] if layers is None or layers == "auto" else ["-ngl", str(layers)]
    if options.cpu_moe is not None:
        arguments += ["--cpu-moe"] if options.cpu_moe == "all" else ["--n-cpu-moe", str(options.cpu_moe)]
    if options.kv_type is not None:
        arguments += ["-ctk", options.kv_type, "-ctv", options.kv_type]
    return arguments + ([] if options.threads is None else ["-t", str(options.threads)])


def environment_for(key: str = "") -> dict[str, str]:
    """The environment of a llamafile that answers only requests with KEY: without the keys for other servers."""
    own = {name: value for name, value in os.environ.items() if not _SECRET.fullmatch(name)}
    return own | ({"LLAMA_API_KEY": key} if key else {})


def is_before_0_10(command: Sequence[str], log: Path, seconds: float = 10.0) -> bool:
    """Whether the llamafile that COMMAND starts is older than 0.10; one that reports no version in SECONDS is not.

    LOG gets its output, so that this process need not hold it in memory.
    """
    with log.open("w+b") as output:
        with (
            subprocess.Popen(
                [*SUPERVISED, *command, "--version"],
                env=environment_for(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
            ) as probe,
            contextlib.suppress(subprocess.TimeoutExpired),
        ):
            probe.wait(seconds)
        output.seek(0)
        version = _VERSION.search(output.read(1 << 14))
    return version is not None and (int(version[1]), int(version[2])) < (0, 10)


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
