"""A run of tests that hangs comes to its end, and no process stays: each test here is a run of its own."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.processes import is_gone, started

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no alarm interrupts a test there")

WAITS = """
import subprocess

def test_that_waits_for_ever():
    with subprocess.Popen(["sleep", "1000"]) as process:
        print(f"pid: {process.pid}.")
        process.wait()

def test_another():
    pass
"""
CLEANS_UP_FOR_EVER = """
import threading

def test_that_hangs_while_it_is_cleaned_up():
    try:
        threading.Event().wait()
    finally:
        threading.Event().wait()
"""
LEAVES_A_PROCESS = """
import subprocess, warnings

def test_that_leaves_a_process(capsys):
    process = subprocess.Popen(["sleep", "1000"])
    with capsys.disabled():
        print(f"pid: {process.pid}.")
    process.returncode = 0  # or Python would warn
"""
CANNOT_BE_INTERRUPTED = """
import subprocess, threading

def test_that_cannot_be_interrupted(capsys):
    process = subprocess.Popen(["sleep", "1000"])
    with capsys.disabled():
        print(f"pid: {process.pid}.", flush=True)
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass
"""
HOLDS_PYTHON = """
import ctypes, signal

def test_that_lets_nothing_else_run():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    ctypes.PyDLL(None).sleep(1000)
"""


def run(folder: Path, program: str, *options: str) -> tuple[int, str]:
    """How a run of the tests in PROGRAM ends, and what it says."""
    (folder / "conftest.py").symlink_to(ROOT / "conftest.py")
    (folder / "test_program.py").write_text(program)
    arguments = [
        "-p",
        "pytest_timeout",
        "--timeout",
        "1",
        "--import-mode=importlib",
        "--rootdir",
        str(folder),
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with started([sys.executable, "-m", "pytest", *arguments], cwd=folder, env=environment) as process:
        said, _ = process.communicate()
    return process.returncode, said


def has_ended(said: str) -> bool:
    """Whether the process has that a test SAID that it started."""
    (pid,) = re.findall(r"pid: (\d+)\.", said)
    return is_gone(int(pid))


def test_a_test_that_waits_for_a_process_fails_and_the_others_run(tmp_path: Path) -> None:
    status, said = run(tmp_path, WAITS, "--session-timeout", "60")

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in said
    assert has_ended(said)


def test_a_test_that_hangs_in_its_clean_up_fails(tmp_path: Path) -> None:
    status, said = run(tmp_path, CLEANS_UP_FOR_EVER, "--session-timeout", "60")

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed" in said


def test_a_process_that_is_left_is_ended_and_fails_the_run(tmp_path: Path) -> None:
    status, said = run(tmp_path, LEAVES_A_PROCESS, "--session-timeout", "60")

    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in said
    assert "Processes that no test has ended: " in said
    assert has_ended(said)


def test_a_run_that_cannot_be_interrupted_ends(tmp_path: Path) -> None:
    status, said = run(tmp_path, CANNOT_BE_INTERRUPTED, "--session-timeout", "1")

    assert status == pytest.ExitCode.INTERRUPTED
    assert has_ended(said)


def test_a_run_in_which_python_itself_hangs_ends(tmp_path: Path) -> None:
    status, said = run(tmp_path, HOLDS_PYTHON, "--session-timeout", "1")

    assert status == 1  # as faulthandler ends it
    assert "failed" not in said
