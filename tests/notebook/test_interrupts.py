import signal
import threading

import pytest

from localllm_magics.notebook.interrupts import uninterrupted


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("block")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["block"]


def test_several_interrupts_in_nested_blocks_are_one() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            done.append("outer block")
            signal.raise_signal(signal.SIGINT)
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["outer block"]


def test_the_handler_is_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(ValueError, match="wrong"), uninterrupted():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_is_the_context_of_the_interrupt() -> None:
    def interrupted() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("wrong")

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert isinstance(caught.value.__context__, ValueError)


@pytest.mark.parametrize("ignored", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_handler_of_the_system_stays(ignored: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, ignored)
    try:
        with uninterrupted():
            inside = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert inside is ignored


def test_another_thread_changes_no_handler() -> None:
    inside: list[object] = []

    def run() -> None:
        with uninterrupted():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert inside == [signal.getsignal(signal.SIGINT)]
