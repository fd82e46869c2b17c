"""Tries the installed build once, in a process that may die.

Some builds of llama.cpp crash on the first batch of a prompt: one compiled by
an older gcc for a CPU with AMX, for example. A crash takes the whole process
along, so the first use of a build on a CPU happens in a subprocess. Whether it
survived is remembered by library file and CPU.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library, library, rebuild_command
from localllm_magics.engines.kernel.machine import cpu_name
from localllm_magics.engines.kernel.weights import Weights

SECONDS = 120
_LARGEST_EXIT = 255
REBUILD = rebuild_command()
NOTICE = (
    "This build of llama.cpp crashed when it was tried, so weights are not repacked: reading prompts is up to "
    f"3.5 times slower. To rebuild it, type: {REBUILD}"
)


def trial_command(model: Path) -> list[str]:
    """What runs the trial of the installed build on MODEL."""
    return [sys.executable, "-m", "localllm_magics.engines.kernel.trial", str(model)]


def default_cache() -> Path:
    """Where verdicts are kept."""
    return Path(platformdirs.user_cache_dir("localllm-magics")) / "builds.json"


def survives(lib: Library, command: Sequence[str], cache: Path, stop: Stop) -> bool:
    """Whether the build survives COMMAND, which is run at most once for each build and CPU.

    Args:
        lib: The build, which names the entry in the cache.
        command: The program to run; see `trial_command`.
        cache: The file that keeps verdicts.
        stop: Ends the trial.

    There are three cases: it ends well, it crashes, or there is no verdict, because it was stopped or could not be
    run. In the last one nothing is remembered, and the build is taken to survive.
    """
    key = _key(lib.path)
    verdicts = _read(cache)
    if key not in verdicts:
        verdict = _verdict(command, stop)
        if verdict is None or stop.is_set():
            return True
        verdicts[key] = verdict
        _write(cache, verdicts)
    return verdicts[key]


def _verdict(command: Sequence[str], stop: Stop) -> bool | None:
    """Whether COMMAND survives, or None; it is killed on a stop and when it takes too long."""
    # The child finds what this process finds, and no interrupt of this process reaches it.
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
    except OSError:
        return None
    with process, stop.telling(process.kill):
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    if code == 0:
        return True
    # A death by a signal, or on Windows by an exception, is a crash; an exit is an error of Python's.
    return False if code < 0 or code > _LARGEST_EXIT else None


def _key(path: Path) -> str:
    """Names a build on a CPU: the files of its folder, and the CPU's features."""
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in path.parent.iterdir())
    return hashlib.sha256(repr((str(path), files, cpu_name())).encode()).hexdigest()


def _read(cache: Path) -> dict[str, bool]:
    try:
        saved = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return {key: value is True for key, value in saved.items()} if isinstance(saved, dict) else {}


def _write(cache: Path, verdicts: dict[str, bool]) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(verdicts))
    except OSError:
        return  # a verdict that cannot be kept is found again next time


def _try(model: Path) -> None:
    """Read a batch of 32 tokens and then single ones, as a chat does."""
    lib = library()
    weights = Weights(lib, model, stop=Stop())
    context = Context(lib, weights, size=64, threads=1)
    for _ in context.read([1] * 32):
        pass
    for _ in range(4):
        context.take(1)
    context.close()
    weights.close()


if __name__ == "__main__":
    _try(Path(sys.argv[1]))
