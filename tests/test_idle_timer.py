import threading
from collections.abc import Callable

import pytest

from localllm_magics.idle_timer import IdleTimer
from tests.forking import in_forked_process
from tests.server.waiting import wait_until


def idle_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "localllm-idle"]


class Checks:
    """Says SECONDS, one after the other, and then None; counts how often it was asked."""

    def __init__(self, *seconds: float, then: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._seconds = [*seconds]
        self._then = then

    def __call__(self) -> float | None:
        self.count += 1
        if self._seconds:
            return self._seconds.pop(0)
        self._then()
        return None


def test_without_a_start_there_is_no_thread() -> None:
    timer = IdleTimer(Checks())

    assert (idle_threads(), repr(timer)) == ([], "<IdleTimer at rest>")


def test_it_checks_until_there_is_nothing_to_wait_for() -> None:
    checks = Checks(0.0, 0.0)
    timer = IdleTimer(checks)

    timer.start()
    wait_until(lambda: repr(timer) == "<IdleTimer at rest>", "at rest")

    assert checks.count == 3


def test_one_thread_is_enough() -> None:
    checks = Checks(1e9, 1e9, 1e9, 1e9)
    timer = IdleTimer(checks)
    try:
        timer.start()
        wait_until(lambda: checks.count == 1, "a check")
        timer.start()
        wait_until(lambda: checks.count == 2, "another check")

        assert (len(idle_threads()), repr(timer)) == (1, "<IdleTimer running>")
    finally:
        timer.stop()


def test_a_stop_ends_it_however_long_it_would_wait() -> None:
    checks = Checks(1e9)
    timer = IdleTimer(checks)
    timer.start()
    wait_until(lambda: checks.count == 1, "a check")

    timer.stop()
    timer.stop()

    assert (idle_threads(), repr(timer), checks.count) == ([], "<IdleTimer at rest>", 1)


def test_it_can_be_stopped_by_its_own_check() -> None:
    timers: list[IdleTimer] = []

    def stop() -> None:
        timers[0].stop()

    checks = Checks(then=stop)
    timers.append(timer := IdleTimer(checks))

    timer.start()
    wait_until(lambda: checks.count == 1 and not idle_threads(), "gone")

    assert repr(timer) == "<IdleTimer at rest>"


def test_a_start_while_it_is_about_to_end_is_not_lost() -> None:
    timers: list[IdleTimer] = []

    def start_once() -> None:
        if timers:
            timers.pop().start()

    checks = Checks(then=start_once)
    timers.append(timer := IdleTimer(checks))

    timer.start()
    wait_until(lambda: not idle_threads(), "gone")

    assert checks.count == 2


def test_it_can_be_started_again() -> None:
    checks = Checks()
    timer = IdleTimer(checks)
    for _ in range(2):
        timer.start()
        wait_until(lambda: repr(timer) == "<IdleTimer at rest>", "at rest")

    assert checks.count == 2


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("threading.Thread.start", id="by the system"),
        pytest.param("localllm_magics.idle_timer.require_room_for_thread", id="within a limit of memory"),
    ],
)
def test_where_no_thread_can_be_started_the_next_start_tries_again(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    checks = Checks()
    timer = IdleTimer(checks)
    with monkeypatch.context() as patch:
        patch.setattr(what, refuse)
        timer.start()
    before = (checks.count, repr(timer))
    timer.start()
    wait_until(lambda: checks.count == 1, "a check")

    assert before == (0, "<IdleTimer at rest>")


def test_what_was_lost_in_a_fork_is_resumed_and_nothing_else() -> None:
    checks = Checks(1e9, 1e9)
    timer = IdleTimer(checks)
    timer.resume()
    before = repr(timer)
    timer.start()
    wait_until(lambda: checks.count == 1, "a check")

    def works() -> bool:
        timer.resume()
        wait_until(lambda: checks.count == 2, "a check here")
        timer.stop()
        timer.resume()
        return repr(timer) == "<IdleTimer at rest>"

    try:
        assert in_forked_process(works)
    finally:
        timer.stop()
    assert before == "<IdleTimer at rest>"


def test_a_forked_process_has_no_thread_and_can_have_its_own() -> None:
    checks = Checks(1e9, 1e9)
    timer = IdleTimer(checks)
    timer.start()
    wait_until(lambda: checks.count == 1, "a check")

    def works() -> bool:
        is_at_rest = repr(timer) == "<IdleTimer at rest>"
        timer.start()
        wait_until(lambda: checks.count == 2, "a check here")
        timer.stop()
        return is_at_rest

    try:
        assert in_forked_process(works)
    finally:
        timer.stop()
