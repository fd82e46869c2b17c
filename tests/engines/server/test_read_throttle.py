import threading
from collections.abc import Callable

from localllm_magics.engines.server.read_throttle import ReadThrottle

AN_HOUR = 3600.0
PROMPT = 12
"""So many reads of an answer are not spaced."""


class Source:
    """Gives DATA at each read, and remembers how often."""

    def __init__(self, data: bytes = b"x") -> None:
        self.reads = 0
        self._data = data

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.reads += 1
        return self._data


def read_often(read: Callable[[int], bytes], times: int) -> None:
    for _ in range(times):
        read(65536)


def test_the_head_of_an_answer_is_read_as_it_comes() -> None:
    source = Source()

    read_often(ReadThrottle(AN_HOUR).spaced(source.read), 3 * PROMPT)

    assert source.reads == 3 * PROMPT


def test_the_first_words_are_read_as_they_come() -> None:
    source, pace = Source(), ReadThrottle(AN_HOUR)
    pace.begin()

    read_often(pace.spaced(source.read), PROMPT + 1)

    assert source.reads == PROMPT + 1


def test_then_what_comes_gathers_until_the_end() -> None:
    source, pace = Source(), ReadThrottle(AN_HOUR)
    pace.begin()
    read = pace.spaced(source.read)
    read_often(read, PROMPT + 1)
    order: list[str] = []

    def read_once() -> None:
        read(65536)
        order.append("read")

    reader = threading.Thread(target=read_once)
    reader.start()
    reader.join(0.2)
    order.append("end")
    pace.end()
    reader.join()

    assert order == ["end", "read"]


def test_much_data_is_read_without_a_rest() -> None:
    source, pace = Source(b"x" * 65536), ReadThrottle(AN_HOUR)
    pace.begin()

    read_often(pace.spaced(source.read), 3 * PROMPT)

    assert source.reads == 3 * PROMPT
