"""What holds for every run of tests: what hangs is ended, and takes the processes that it started along."""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Protocol

import pytest

from tests.processes import descendants, end, is_running

_MOST_CLEAN_UP = 10.0
"""Seconds after which a test that was given up, and then hangs in its own clean-up, is interrupted once more."""
_CLOCKS_DIFFER = 2.0
"""Seconds by which the start of a process, as the system tells it, may lie before the start of its test."""


class _Limits(Protocol):
    """What pytest-timeout has read for a test."""

    timeout: float
    method: str


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: _Limits) -> Generator[None, object, object]:
    """When a test is given up, end the processes that it started first: its clean-up may wait for them."""
    result = yield
    give_up = signal.getsignal(signal.SIGALRM) if settings.method == "signal" else None
    if callable(give_up):
        signal.signal(signal.SIGALRM, _ending_first(give_up, since=time.time() - _CLOCKS_DIFFER))
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, min(settings.timeout, _MOST_CLEAN_UP))
    return result


def pytest_sessionstart(session: pytest.Session) -> None:
    """Set a limit to the whole run that holds where no test can be interrupted, and after the last test too."""
    test, run = (_seconds(session.config, name) for name in ("timeout", "session_timeout"))
    # The test that runs when the time is over may come to its end, and is cleaned up.
    limit = run + 2 * test
    timer = threading.Timer(limit, _give_up, [session.config])
    timer.daemon = True
    timer.start()
    # Where no thread of Python comes to run any more; nothing is captured yet, so this is the real stderr.
    faulthandler.dump_traceback_later(limit + _MOST_CLEAN_UP, exit=True, file=os.dup(2))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """End what tests have left behind; the run has failed then."""
    result = yield
    # What `multiprocessing` itself starts ends with this process.
    left = [process for process in descendants() if not is_running(process, "multiprocessing.resource_tracker")]
    if left:
        terminal = session.config.get_terminal_writer()
        terminal.line()
        terminal.line(f"Processes that no test has ended: {', '.join(map(str, left))}", red=True)
        end(left)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


Handler = Callable[[int, FrameType | None], object]


def _ending_first(give_up: Handler, *, since: float) -> Handler:
    def end_and_give_up(number: int, frame: FrameType | None) -> None:
        end(descendants(since=since))
        give_up(number, frame)

    return end_and_give_up


def _seconds(config: pytest.Config, name: str) -> float:
    given = config.getoption(name)
    return float(config.getini(name) if given is None else given)


def _give_up(config: pytest.Config) -> None:
    end(descendants())
    if (capturing := config.pluginmanager.getplugin("capturemanager")) is not None:
        capturing.suspend_global_capture(in_=True)
    sys.stderr.write("\nThe tests take too long, and are given up. What each thread does:\n")
    sys.stderr.flush()
    faulthandler.dump_traceback()
    os._exit(pytest.ExitCode.INTERRUPTED)
