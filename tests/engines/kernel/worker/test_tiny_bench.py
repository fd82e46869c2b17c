from itertools import count
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.hollow_model import HollowShape
from localllm_magics.engines.kernel.worker.tiny_bench import Noise, Place, TinyBench, fastest

SHAPE = HollowShape(type="Q8_0", layers=2, width=128, inner_width=256)


def test_a_tiny_model_is_timed(lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with TinyBench(Place(lib=lib, threads=1), SHAPE) as bench:
        times = [*bench.prompt(300), bench.decode(), bench.choose()]

    assert len(times) == 4
    assert min(times) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("times", "seconds", "enough", "calls"),
    [
        pytest.param([5.0, 1.0, 1.01, 1.02, 9.0], 60, 3, 4, id="enough that are nearly as fast"),
        pytest.param([5.0, 1.0], 0, 3, 1, id="no more time"),
    ],
)
def test_the_fastest_counts(times: list[float], seconds: float, enough: int, calls: int) -> None:
    number = count()

    found = fastest(lambda: times[next(number)], seconds, enough=enough, noise=Noise())

    assert (found, next(number)) == (min(times[:calls]), calls)


@pytest.mark.parametrize(
    ("kinds", "ratio"),
    [
        pytest.param([], 1.0, id="nothing was measured"),
        pytest.param([[1.0, 9.0, 9.0]], 1.0, id="too few of a kind"),
        pytest.param([[1.0, 1.0, 1.0, 1.0], [2.0, 4.0, 4.0, 4.0], [1.0, 3.0, 3.0, 3.0]], 2.0, id="the usual kind"),
    ],
)
def test_noise_is_how_much_longer_than_the_fastest_a_measurement_took(kinds: list[list[float]], ratio: float) -> None:
    noise = Noise()

    for times in kinds:
        noise.add(times)

    assert noise.ratio == ratio
