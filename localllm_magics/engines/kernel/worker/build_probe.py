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
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library, library, rebuild_command
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine import cpu_name

SECONDS = 120
_LARGEST_EXIT = 255
_LONGEST_OUTPUT = 10_000
_MOST_VERDICTS = 1000
REBUILD = rebuild_command()
NOTICE = (
    "This build of llama.cpp crashed when it was tried, so weights are not repacked: reading prompts is up to "
    f"3.5 times slower. To rebuild it, type: {REBUILD}"
)


def trial_command(model: Path) -> list[str]:
    """What runs the trial of the installed build on MODEL."""
    return [sys.executable, "-m", "localllm_magics.engines.kernel.worker.build_probe", str(model)]


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
    key = key_of(lib)
    known = verdicts(cache).get(key)
    if known is not None:
        return known
    ending = run_apart(command, stop, SECONDS)
    if ending is None or stop.is_set() or not (ending.is_good or ending.is_crash):
        return True
    remember(cache, key, verdict=ending.is_good)
    return ending.is_good


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended.

    Args:
        code: Its exit status, or the negative number of a signal; None where it took too long.
        output: The last that it wrote to the standard error.
    """

    code: int | None
    output: str

    @property
    def is_good(self) -> bool:
        """Whether nothing went wrong."""
        return self.code == 0

    @property
    def is_crash(self) -> bool:
        """Whether it died by a signal or took too long; an exit is an error of Python's."""
        # On Windows a signal is an exception, with a large number.
        return self.code is None or self.code < 0 or self.code > _LARGEST_EXIT


def run_apart(command: Sequence[str], stop: Stop, seconds: float | None = None) -> Exit | None:
    """Run COMMAND in a process of its own, which STOP ends, and SECONDS; None where it cannot be run."""
    # The child finds what this process finds, and no interrupt of this process reaches it.
    paths = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,
            )
        except OSError:
            return None
        with process, stop.calling(process.kill):
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                code = None
        output.seek(max(0, output.seek(0, os.SEEK_END) - _LONGEST_OUTPUT))
        return Exit(code=code, output=output.read(_LONGEST_OUTPUT).decode("utf-8", "replace"))


def key_of(lib: Library, *more: str | int | None) -> str:
    """Names a build on a CPU, and MORE: the files of the build's folder, and the CPU's features."""
    path = lib.path
    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in path.parent.iterdir())
    return hashlib.sha256(repr((str(path), files, cpu_name(), *more)).encode()).hexdigest()


def verdicts(cache: Path) -> dict[str, bool]:
    """What survived, and what did not, by key."""
    try:
        saved = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return {key: value is True for key, value in saved.items()} if isinstance(saved, dict) else {}


def remember(cache: Path, key: str, *, verdict: bool) -> None:
    """Keep VERDICT."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        newest = [*verdicts(cache).items(), (key, verdict)][-_MOST_VERDICTS:]
        cache.write_text(json.dumps(dict(newest)))
    except OSError:
        return  # a verdict that cannot be kept is found again next time


def no_core_dump() -> None:
    """Keep a crash of this process from leaving its memory, gigabytes perhaps, in a file."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(model: Path) -> None:
    """Read a batch of 32 tokens and then single ones, as a chat does."""
    lib = library()
    weights = LlamaModel(lib, model, stop=Stop())
    context = Context(lib, weights, size=64, threads=1)
    for _ in context.read([1] * 32):
        pass
    for _ in range(4):
        context.take(1)
    context.close()
    weights.close()


if __name__ == "__main__":
    no_core_dump()
    _try(Path(sys.argv[1]))
