import pytest

from localllm_magics.engines.kernel.footprint import Footprint

MB = 1_000_000


@pytest.mark.parametrize(
    ("before", "loaded", "full", "empty", "unreturned"),
    [
        pytest.param(100, 500, 500, 100, 0, id="all came back"),
        pytest.param(100, 500, 550, 100, 0, id="what an answer took came back too"),
        pytest.param(100, 500, 500, 110, 0, id="nearly all"),
        pytest.param(100, 500, 500, 500, 400, id="nothing came back"),
        pytest.param(100, 500, 500, 200, 100, id="a part did not"),
        pytest.param(100, 500, 2500, 2100, 0, id="others have taken memory"),
        pytest.param(100, 500, 2500, 2200, 100, id="others have taken memory, and a part did not come back"),
        pytest.param(100, 500, 150, 90, 0, id="it was in the swap file"),
        pytest.param(100, 2500, 2500, 2100, 0, id="others have taken memory during the load"),
    ],
)
def test_what_does_not_come_back_is_measured(before: int, loaded: int, full: int, empty: int, unreturned: int) -> None:
    held = iter(number * MB for number in (before, loaded, full, empty))
    footprint = Footprint(lambda: next(held))
    footprint.end_load(400 * MB)
    with footprint.giving_back():
        pass

    assert footprint.unreturned_bytes == unreturned * MB


def test_it_says_what_it_knows() -> None:
    footprint = Footprint(lambda: 5)

    assert repr(footprint) == "<Footprint: 0 bytes taken, 0 not returned>"
