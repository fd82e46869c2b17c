"""What the set-up says, and the commands it runs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Watcher = Callable[[str, float], None]


class SetupFailed(Exception):
    """The set-up cannot go on; the message says what to type."""


def say(text: str) -> None:
    """Print TEXT at once, marked as coming from the set-up."""
    print(f"[set-up] {text}", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    watch: Watcher | None = None,
) -> None:
    """Run COMMAND with its output in LOG only, unless it fails.

    Args:
        command: The program and its arguments.
        log: The file that gets the output.
        env: Variables on top of this process's own.
        watch: Called with each line and the seconds since the start.
    """
    words = [str(word) for word in command]
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as copy,
        subprocess.Popen(
            words,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            copy.write(line)
            copy.flush()
            if watch is not None:
                watch(line, time.monotonic() - started)
    if process.returncode != 0:
        _show_end(log)
        raise SetupFailed(f"`{' '.join(words)}` failed; its whole output is in {log}")


def _show_end(log: Path, lines: int = 40) -> None:
    text = log.read_text(encoding="utf-8", errors="replace")
    sys.stdout.write("\n".join(text.splitlines()[-lines:]) + "\n")
