from dataclasses import replace

import pytest

from localllm_magics.engines.forecast.in_words import measured_in_words, slow_build_note
from tests.engines.forecast.speeds_of import CPU


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        pytest.param(-5.0, "measured just now", id="a clock that was set back"),
        pytest.param(59.0, "measured just now", id="seconds"),
        pytest.param(60.0, "measured 1 minute ago", id="a minute"),
        pytest.param(150.0, "measured 2 minutes ago", id="minutes"),
        pytest.param(7300.0, "measured 2 hours ago", id="hours"),
        pytest.param(90_000.0, "measured 1 day ago", id="a day"),
    ],
)
def test_the_age_of_a_calibration_in_words(seconds: float, words: str) -> None:
    assert measured_in_words(replace(CPU, measured_at=1e9), 1e9 + seconds) == words


def test_a_calibration_of_a_busy_machine_in_words() -> None:
    words = "measured just now, while other programs kept this machine busy"

    assert measured_in_words(replace(CPU, noise=2.0), 0.0) == words


def test_no_calibration_in_words() -> None:
    assert measured_in_words(None, 0.0) == "not measured"


@pytest.mark.parametrize(
    ("system_info", "cpu", "note"),
    [
        pytest.param("CPU : AVX2 = 1 | AVX512 = 1 |", "flags : avx2 avx512f", "", id="all is used"),
        pytest.param("CPU : AVX2 = 1 |", "flags : avx2", "", id="all that is there"),
        pytest.param(
            "CPU : SSE3 = 1 |",
            "flags : avx2 avx512f",
            "This build of llama.cpp is slow: it does not use AVX2 and AVX-512, which this CPU has. Type: ",
            id="not used",
        ),
    ],
)
def test_a_build_that_leaves_out_what_the_cpu_has_is_slow(system_info: str, cpu: str, note: str) -> None:
    assert slow_build_note(system_info, cpu).partition("`")[0] == note
