"""Work in a thread that no exit waits for."""

import os
import subprocess
import sys
import threading

import pytest

from localllm_magics.engines.background import in_background
from tests.server.waiting import wait_until


def test_the_result_can_be_awaited() -> None:
    assert in_background(lambda: threading.current_thread().name, "mine").result() == "mine"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
def test_an_error_is_raised_where_the_result_is_awaited(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    future = in_background(fail, "mine")

    with pytest.raises(type(error)):
        future.result()
    assert capsys.readouterr().err == ""


def test_the_thread_may_stay_until_it_is_told_to_end() -> None:
    until = threading.Event()

    thread = in_background(threading.current_thread, "mine", until=until).result()
    wait_until(lambda: thread.name == "mine-kept", "kept")
    is_there = thread.is_alive()
    until.set()
    thread.join()

    assert is_there


def test_the_thread_of_work_that_has_failed_does_not_stay() -> None:
    threads: list[threading.Thread] = []

    def fail() -> None:
        threads.append(threading.current_thread())
        raise ValueError("no")

    future = in_background(fail, "mine", until=threading.Event())

    with pytest.raises(ValueError, match="no"):
        future.result()
    threads[0].join()


EXIT = """
import threading
from localllm_magics.engines.background import in_background
in_background(threading.Event().wait, "for ever")
"""


def test_the_end_of_the_process_does_not_wait_for_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    assert subprocess.run([sys.executable, "-c", EXIT], env=environment, check=False, timeout=60).returncode == 0
