"""Compares an answer with its forecast, and learns from it."""

from dataclasses import dataclass

from localllm_magics.core.generation import Generation
from localllm_magics.core.memory_plan import Compared, PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.forecast.forecast import decode_seconds, prompt_seconds
from localllm_magics.engines.forecast.learning import Rate, correction
from localllm_magics.engines.forecast.stored import SpeedStore

_FEWEST_TOKENS, _FEWEST_PROMPT_TOKENS = 16, 256
"""Of answers that are long enough to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an answer took, in tokens and seconds.

    Args:
        cached: Tokens of the prompt that were not computed.
        prompt: Those that were.
        tokens: Of the answer.
    """

    cached: int
    prompt: int
    prompt_seconds: float
    tokens: int
    decode_seconds: float

    @classmethod
    def of(cls, generation: Generation) -> "Measured":
        """What GENERATION took, at the end of its tokens."""
        reading = generation.reading
        return cls(
            cached=reading.cached,
            prompt=reading.done - reading.cached,
            prompt_seconds=generation.prefill_seconds,
            tokens=generation.tokens,
            decode_seconds=generation.decode_seconds,
        )


def learn_from(
    measured: Measured, shape: ModelShape, settings: PlanSettings, key: str, store: SpeedStore
) -> Compared | None:
    """Compare what was MEASURED with its forecast, for the next ones to be better; None where that cannot be.

    Args:
        measured: An answer.
        shape: That of its model.
        settings: How that is loaded.
        key: The machine, see `speed_key`.
        store: What is known of it.
    """
    calibration = store.get(key)
    if calibration is None:
        return None
    depth = measured.cached + measured.prompt + measured.tokens / 2
    try:
        decode = decode_seconds(shape, settings, calibration, depth)
        prompt = prompt_seconds(shape, settings, calibration, tokens=max(1, measured.prompt), cached=measured.cached)
    except LookupError:
        return None
    ratios: dict[Rate, float] = {}
    if measured.prompt >= _FEWEST_PROMPT_TOKENS and measured.prompt_seconds > 0:
        ratios["prompt"] = prompt / measured.prompt_seconds
    compared = None
    if measured.tokens >= _FEWEST_TOKENS and measured.decode_seconds > 0:
        rate = measured.tokens / measured.decode_seconds
        ratios["decode"] = rate * decode
        compared = Compared(forecast=correction("decode", shape, settings, calibration) / decode, measured=rate)
    store.learn(key, ratios, shape, settings)
    return compared
