import threading

from localllm_magics.engines.server.read_throttle import ReadThrottle

AN_HOUR = 3600.0
UNTHROTTLED = 12
"""So many reads of an answer are not spaced."""


def read_often(throttle: ReadThrottle, times: int, size: int = 1) -> None:
    """Read SIZE bytes TIMES times; returns only if no read has to wait."""
    for _ in range(times):
        throttle.wait()
        throttle.record(size)


def test_the_head_of_an_answer_is_read_as_it_comes() -> None:
    read_often(ReadThrottle(AN_HOUR), 3 * UNTHROTTLED)


def test_the_first_tokens_are_read_as_they_come() -> None:
    throttle = ReadThrottle(AN_HOUR)
    throttle.begin()

    read_often(throttle, UNTHROTTLED + 1)


def test_then_what_comes_gathers_until_the_end() -> None:
    throttle = ReadThrottle(AN_HOUR)
    throttle.begin()
    read_often(throttle, UNTHROTTLED + 1)
    order: list[str] = []

    def read_once() -> None:
        throttle.wait()
        order.append("read")

    reader = threading.Thread(target=read_once)
    reader.start()
    reader.join(0.2)
    order.append("end")
    throttle.end()
    reader.join()

    assert order == ["end", "read"]


def test_the_pace_is_that_of_the_first_tokens_within_bounds() -> None:
    throttle = ReadThrottle()
    throttle.begin()

    read_often(throttle, UNTHROTTLED + 5)


def test_much_data_is_read_without_a_rest() -> None:
    throttle = ReadThrottle(AN_HOUR)
    throttle.begin()

    read_often(throttle, 3 * UNTHROTTLED, size=65536)
