"""The virtual environment `.venv`, its packages, and the notes of what was done in it."""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.setup import debian
from tools.setup.terminal import SetupFailed, run, say

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "tools" / "setup" / "constraints.txt"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOGS = VENV / "setup-logs"
OPENMP_BUILD = VENV / "llama-openmp"
"""Where the build with OpenMP is, which only a benchmark uses."""

_NOTES = VENV / "setup-done.json"


def create() -> None:
    """Make `.venv`, unless it is there and its Python runs."""
    if _runs():
        return
    say("creating the virtual environment .venv")
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    first = subprocess.run(command, check=False, capture_output=True, text=True)
    if first.returncode == 0:
        return
    # Debian keeps what venv needs in a package of its own.
    log = ROOT / "build" / "python3-venv.log"
    debian.install("python3-venv", why=f"{sys.executable} cannot make environments", log=log)
    second = subprocess.run(command, check=False, capture_output=True, text=True)
    if second.returncode != 0:
        raise SetupFailed(f"`{' '.join(command)}` failed:\n{second.stdout}{second.stderr}")


def install_packages() -> None:
    """Install the project, editable, with everything its tests need."""
    say("installing the Python packages (1 to 3 minutes the first time)")
    pip("install", "hatchling", log="hatchling")
    pip("install", "--no-build-isolation", "--editable", f"{ROOT}[dev]", log="packages")


def packages_key() -> str:
    """A digest of everything that decides which packages are installed."""
    return digest((ROOT / "pyproject.toml").read_text("utf-8"), CONSTRAINTS.read_text("utf-8"))


def pip(verb: str, *arguments: str, log: str) -> None:
    """Run pip in the environment, at the pinned versions."""
    options = ["--disable-pip-version-check", "--prefer-binary", "--constraint", str(CONSTRAINTS)]
    run([PYTHON, "-m", "pip", verb, *options, *arguments], log=LOGS / f"{log}.log")


def once(step: str, key: str, action: Callable[[], None]) -> None:
    """Do ACTION, unless STEP was done with the same KEY in this environment before."""
    done = _read_notes()
    if done.get(step) == key:
        return
    # An action that fails may leave something half done, so the old note goes first.
    _write_notes({name: value for name, value in done.items() if name != step})
    action()
    _write_notes({**done, step: key})


def digest(*texts: str) -> str:
    """Twelve hexadecimal digits that stand for TEXTS."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other set-up works on this checkout, and keep others waiting."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up in this folder")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _runs() -> bool:
    if not PYTHON.exists():
        return False
    trial = [str(PYTHON), "-c", "import pip"]
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0


def _read_notes() -> dict[str, str]:
    try:
        notes: dict[str, str] = json.loads(_NOTES.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return notes


def _write_notes(notes: dict[str, str]) -> None:
    _NOTES.write_text(json.dumps(notes, indent=1) + "\n", "utf-8")
