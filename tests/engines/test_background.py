"""Work in a thread that no exit waits for."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localllm_magics.engines.background import in_background, require_room_for_thread


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


def test_something_may_follow_when_the_result_is_there() -> None:
    was_done: list[bool] = []
    is_known, has_followed = threading.Event(), threading.Event()

    def then() -> None:
        is_known.wait()
        was_done.append(future.done())
        has_followed.set()

    future = in_background(lambda: 5, "mine", then=then)
    result = future.result()
    is_known.set()
    has_followed.wait()

    assert (result, was_done) == (5, [True])


def test_nothing_follows_what_has_failed() -> None:
    threads: list[threading.Thread] = []
    followed: list[int] = []

    def fail() -> None:
        threads.append(threading.current_thread())
        raise ValueError("no")

    future = in_background(fail, "mine", then=lambda: followed.append(1))

    with pytest.raises(ValueError, match="no"):
        future.result()
    threads[0].join()
    assert followed == []


EXIT = """
import threading
from localllm_magics.engines.background import in_background
in_background(threading.Event().wait, "for ever")
"""


def test_the_end_of_the_process_does_not_wait_for_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    assert subprocess.run([sys.executable, "-c", EXIT], env=environment, check=False, timeout=60).returncode == 0


NO_ROOM = """
import resource, sys
from localllm_magics.engines.background import in_background
used = int(open("/proc/self/statm").read().split()[{field}]) * resource.getpagesize()
resource.setrlimit(resource.{limit}, (used + int(sys.argv[1]),) * 2)
try:
    print(in_background(lambda: "begun", "mine").result())
except RuntimeError as exc:
    print(exc)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such limits do not hold")
@pytest.mark.parametrize(("limit", "field"), [("RLIMIT_AS", 0), ("RLIMIT_DATA", 5)])
@pytest.mark.parametrize(("room", "said"), [(20_000_000, "can't start new thread"), (80_000_000, "begun")])
def test_a_thread_for_which_there_is_no_room_is_not_begun(limit: str, field: int, room: int, said: str) -> None:
    program = NO_ROOM.format(limit=limit, field=field)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    command = [sys.executable, "-c", program, str(room)]
    run = subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True, text=True)

    assert run.stdout == f"{said}\n"


def test_where_nothing_is_known_of_limits_there_is_room(tmp_path: Path) -> None:
    require_room_for_thread(tmp_path / "statm")
