import pytest

from localllm_magics.engines.openai.arrival_rate import ArrivalRate


class Clock:
    """Stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def rate_of(*reads: tuple[float, int]) -> tuple[float, int, int]:
    """Seconds, timed pieces and all pieces of READS: when, and how many pieces."""
    clock = Clock()
    rate = ArrivalRate(clock)
    for when, pieces in reads:
        for number in range(max(pieces, 1)):
            clock.now = 100.0 + when + number * 1e-6
            rate.note_read()
            if pieces:
                rate.count_piece()
    return rate.seconds, rate.timed_pieces, rate.pieces


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        pytest.param([], (0, 0, 0), id="nothing"),
        pytest.param([(1, 25)], (0, 0, 25), id="one read"),
        pytest.param([(1, 1), (2, 1)], (0, 0, 2), id="the last does not count"),
        pytest.param([(1, 1), (2, 1), (3, 0)], (1, 1, 2), id="an end of its own"),
        pytest.param([(0.5, 0), (1, 1), (2, 2), (4, 4), (9, 1)], (3, 6, 8), id="reads that bring several"),
        pytest.param([(1, 3), (2, 2), (3, 0)], (1, 2, 5), id="a first that brings several"),
    ],
)
def test_pieces_are_timed_from_the_first_read_to_the_last_but_one(
    reads: list[tuple[float, int]], expected: tuple[float, int, int]
) -> None:
    assert rate_of(*reads) == pytest.approx(expected)


def test_a_last_read_that_waited_takes_nothing_from_the_rate() -> None:
    steady = [(number * 0.06, 3) for number in range(1, 8)]

    seconds, timed, _ = rate_of(*steady, (8 * 0.06, 1))

    assert timed / seconds == pytest.approx(50.0)
