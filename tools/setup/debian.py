"""Packages of Debian and its relatives, installed where we may and named where we may not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.setup.terminal import SetupFailed, run, say


def install(*packages: str, why: str, log: Path) -> None:
    """Install PACKAGES with apt-get, or stop and say what to type.

    Args:
        packages: Names of Debian packages.
        why: What is missing, as the start of a sentence.
        log: The file that gets apt-get's output.
    """
    names = " ".join(packages)
    root = _root_prefix()
    if shutil.which("apt-get") is None:
        raise SetupFailed(f"{why}. Install what your system calls {names}, then try again.")
    if root is None:
        raise SetupFailed(f"{why}. Type: sudo apt-get install {names}")
    say(f"{why}: installing {names} with apt-get (up to 2 minutes)")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    run([*apt, "update"], log=log)
    run([*apt, "install", "-y", "--no-install-recommends", *packages], log=log)


def _root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it; None if we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    silent = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
    if silent.returncode == 0 or sys.stdin.isatty():
        return ["sudo"]
    return None
