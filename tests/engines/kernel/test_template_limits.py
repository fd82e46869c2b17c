import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.template_limits import LimitExceeded, check_limits, run_limited
from tests.engines.kernel.asking import wait_for_limited_work

Work = Callable[[], None]


def endless(ended: threading.Event) -> Work:
    """Work without an end, which sets ENDED when it is ended all the same."""

    def work() -> None:
        try:
            while True:
                check_limits()
        finally:
            ended.set()

    return work


def test_the_result_is_given() -> None:
    assert run_limited(lambda: 7, Stop()) == 7


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run_limited(lambda: 1 // 0, Stop())


def test_work_that_takes_its_time_is_waited_for() -> None:
    assert run_limited(lambda: threading.Event().wait(0.1), Stop()) is False


def test_work_is_ended_when_it_takes_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()

    with pytest.raises(LimitExceeded, match=r"did not come to an end within 0\.1 seconds"):
        run_limited(endless(ended), Stop(), seconds=0.1)
    assert ended.wait(60)
    assert capsys.readouterr().err == ""


def test_work_is_ended_when_somebody_stops_it() -> None:
    stop, ended = Stop(), threading.Event()
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(Stopped):
        run_limited(endless(ended), stop)
    assert ended.wait(60)


def test_work_is_ended_when_it_was_stopped_before_it_began() -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        run_limited(endless(threading.Event()), stop)
    wait_for_limited_work()


def test_work_without_a_check_is_ended_though_the_first_error_was_ignored() -> None:
    ended = threading.Event()

    def work() -> None:
        with suppress(SystemExit):
            while True:
                pass
        try:
            while True:
                pass
        finally:
            ended.set()

    with pytest.raises(LimitExceeded):
        run_limited(work, Stop(), seconds=0.1)
    assert ended.wait(60)


def test_nothing_is_ended_where_there_are_no_limits() -> None:
    check_limits()


def test_work_that_cannot_be_ended_is_left_behind() -> None:
    with pytest.raises(LimitExceeded):
        run_limited(lambda: threading.Event().wait(1), Stop(), seconds=0.01)


def test_work_is_ended_when_it_takes_too_much_memory() -> None:
    ended = threading.Event()

    def work() -> None:
        held: list[bytes] = []
        try:
            while True:
                check_limits()
                held += [b"x" * 1_000_000] * (len(held) < 300)
        finally:
            ended.set()

    with pytest.raises(LimitExceeded, match=r"took more than 50\.0 MB of memory"):
        run_limited(work, Stop(), memory_bytes=50_000_000)
    assert ended.wait(60)
