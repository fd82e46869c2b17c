"""Forecasts as people write them."""

from localllm_magics.core.memory_plan import Forecast
from localllm_magics.engines.forecast.forecast import PROMPT
from localllm_magics.engines.kernel.cpu_features import cpu_features
from localllm_magics.engines.kernel.installing import rebuild_command
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine import cpu_name


def forecast_in_words(forecast: Forecast) -> str:
    """FORECAST as `≈ 14 tok/s, 1,000 tokens read in ≈ 9 s`."""
    seconds = PROMPT / forecast.prompt_tokens_per_second
    return (
        f"≈ {to_two_digits(forecast.tokens_per_second)} tok/s, {PROMPT:,} tokens read in ≈ {to_two_digits(seconds)} s"
    )


def compared_in_words(forecast: float, measured: float) -> str:
    """Two rates as `forecast 14 tok/s, measured 13`."""
    return f"forecast {to_two_digits(forecast)} tok/s, measured {to_two_digits(measured)}"


def slow_build_note(lib: Library) -> str:
    """What LIB does not use of this CPU, and how to change that; empty where it uses all that makes it faster."""
    _, unused = cpu_features(lib.system_info, cpu_name())
    if not unused:
        return ""
    return f"This build of llama.cpp is slow: it does not use {unused}, which this CPU has. Type: `{rebuild_command()}`"


def to_two_digits(number: float) -> str:
    """NUMBER with the digits that a forecast knows: `0.42`, `4.2`, `42`, `420`, `4,200`."""
    if number >= 100:
        size = 10 ** (len(str(int(number))) - 2)
        return f"{round(number / size) * size:,}"
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}" if number >= 0.995 else f"{number:.2g}"
