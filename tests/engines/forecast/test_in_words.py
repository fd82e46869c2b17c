from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import Compared, Forecast
from localllm_magics.engines.forecast.in_words import (
    compared_in_words,
    forecast_in_words,
    measured_in_words,
    slow_build_note,
    to_two_digits,
)
from tests.engines.forecast.speeds_of import CPU


@pytest.mark.parametrize(
    ("decode", "prompt", "words"),
    [
        pytest.param(14.2, 111.0, "≈ 14 tok/s, 1,000 tokens read in ≈ 9.0 s", id="usual"),
        pytest.param(1234.0, 20_000.0, "≈ 1,200 tok/s, 1,000 tokens read in ≈ 0.05 s", id="fast"),
        pytest.param(0.42, 1.5, "≈ 0.42 tok/s, 1,000 tokens read in ≈ 670 s", id="slow"),
    ],
)
def test_a_forecast_in_words(decode: float, prompt: float, words: str) -> None:
    assert forecast_in_words(Forecast(tokens_per_second=decode, prompt_tokens_per_second=prompt)) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0512, "0.051"), (0.42, "0.42"), (0.999, "1.0"), (4.23, "4.2"), (9.94, "9.9"), (9.96, "10"), (42.4, "42"),
        (99.9, "100"), (426.0, "430"), (999.0, "1,000"), (4321.0, "4,300"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_a_forecast_knows(number: float, words: str) -> None:
    assert to_two_digits(number) == words


def test_a_comparison_in_words() -> None:
    assert compared_in_words(Compared(forecast=14.1, measured=13.2)) == "forecast 14 tok/s, measured 13"


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
