"""Work in a thread that no exit waits for."""

import os
import subprocess
import sys
import threading

import pytest

from localllm_magics.engines.background import in_background


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


EXIT = """
import threading
from localllm_magics.engines.background import in_background
in_background(threading.Event().wait, "for ever")
"""


def test_the_end_of_the_process_does_not_wait_for_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    assert subprocess.run([sys.executable, "-c", EXIT], env=environment, check=False, timeout=60).returncode == 0
