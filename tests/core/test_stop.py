import threading
from collections.abc import Callable

import pytest

from localllm_magics.core.stop import Stop, Stopped, poll


def nothing() -> None:
    pass


def test_it_begins_unset() -> None:
    stop = Stop()

    assert not stop.is_set()
    assert not stop.wait(0)
    assert repr(stop) == "<Stop not set>"


def test_once_set_it_stays_set() -> None:
    stop = Stop()

    stop.set()
    stop.set()

    assert stop.is_set()
    assert stop.wait(None)
    assert repr(stop) == "<Stop set>"


def test_a_stop_in_the_block_is_told_once() -> None:
    stop, told = Stop(), list[int]()

    with stop.calling(lambda: told.append(1)):
        assert told == []
        stop.set()
        stop.set()

    assert told == [1]


def test_a_stop_before_the_block_is_told_at_once() -> None:
    stop, told = Stop(), list[int]()
    stop.set()

    with stop.calling(lambda: told.append(1)):
        assert told == [1]

    assert told == [1]


def test_a_stop_after_the_block_is_not_told() -> None:
    stop, told = Stop(), list[int]()

    with stop.calling(lambda: told.append(1)):
        pass
    stop.set()

    assert told == []


def test_blocks_in_each_other_are_all_told() -> None:
    stop, told = Stop(), set[str]()

    with stop.calling(lambda: told.add("outer")), stop.calling(lambda: told.add("inner")):
        stop.set()

    assert told == {"outer", "inner"}


def test_an_error_in_the_block_ends_the_telling() -> None:
    stop, told = Stop(), list[int]()

    with pytest.raises(ZeroDivisionError), stop.calling(lambda: told.append(1)):
        raise ZeroDivisionError
    stop.set()

    assert told == []


def test_what_an_interrupt_kept_from_being_told_is_told_next_time() -> None:
    stop, told = Stop(), list[str]()
    interrupts = [KeyboardInterrupt]

    def interrupted() -> None:
        if interrupts:
            raise interrupts.pop()
        told.append("second")

    with stop.calling(lambda: told.append("first")), stop.calling(interrupted):
        with pytest.raises(KeyboardInterrupt):
            stop.set()
        assert (stop.is_set(), told) == (True, [])
        stop.set()

    assert told == ["second", "first"]


def test_a_waiter_in_another_thread_wakes() -> None:
    stop = Stop()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(stop.wait(None)))
    waiter.start()

    stop.set()
    waiter.join()

    assert woken == [True]


def race(*actions: Callable[[], None]) -> None:
    """Run ACTIONS at once, each in a thread."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], None]) -> None:
        barrier.wait()
        action()

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_threads_that_ask_one_tells() -> None:
    for _ in range(50):
        stop, told = Stop(), list[int]()

        with stop.calling(lambda told=told: told.append(1)):  # type: ignore[misc] # a default binds the list
            race(stop.set, stop.set, stop.set, stop.set)

        assert told == [1]


def test_a_stop_that_races_with_the_block_is_told_inside_it_or_never() -> None:
    for _ in range(300):
        stop, told, told_inside = Stop(), list[int](), list[int]()

        def block(stop: Stop = stop, told: list[int] = told, told_inside: list[int] = told_inside) -> None:
            with stop.calling(lambda: told.append(1)):
                pass
            told_inside.extend(told)

        race(block, stop.set)

        assert told == told_inside
        assert told in ([], [1])


def test_a_check_raises_once_it_is_set() -> None:
    stop = Stop()
    stop.check()
    stop.sleep(0)

    stop.set()

    with pytest.raises(Stopped):
        stop.check()
    with pytest.raises(Stopped):
        stop.sleep(60)


def test_polling_ends_when_what_is_waited_for_is_there() -> None:
    answers = iter([False, False, True])

    waited = list(poll(lambda _seconds: next(answers), Stop()))

    assert (len(waited), waited) == (2, sorted(waited))


def test_polling_ends_with_a_stop() -> None:
    stop = Stop()
    polls = poll(lambda _seconds: False, stop)
    next(polls)

    stop.set()

    with pytest.raises(Stopped):
        next(polls)
