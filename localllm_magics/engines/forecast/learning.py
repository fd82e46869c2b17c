"""What measured answers teach about the forecasts of this machine."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Literal, TypeAlias

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.kernel.machine import SMALL_MODEL

Rate: TypeAlias = Literal["decode", "prompt"]
Ratios: TypeAlias = Mapping[str, tuple[float, ...]]
"""The last measured rates over those that were forecast without correction, by what was measured."""
_MOST_RATIOS, _MOST_KEYS = 8, 500
_MARK = " small "
WIDEST = 4.0
"""What lies farther from the forecast says nothing of the machine: the computer slept, for example."""
_WIDEST_OF_SMALL = 16.0  # the cache of a CPU was not measured
_BOUNDS, _BOUNDS_OF_SMALL = (0.5, 2.0), (1 / _WIDEST_OF_SMALL, _WIDEST_OF_SMALL)


def correction(rate: Rate, shape: ModelShape, settings: PlanSettings, calibration: Calibration) -> float:
    """The factor that earlier answers have taught: those of this model, or else of others of its type and device."""
    if not calibration.corrections:
        return 1.0
    own, general = (calibration.corrections.get(key) for key in _keys(rate, shape, settings))
    # Half of what other models taught: the rest may be their own.
    return own if own is not None else sqrt(general) if general is not None else 1.0


def learned(ratios: Ratios, rate: Rate, shape: ModelShape, settings: PlanSettings, ratio: float) -> Ratios:
    """RATIOS after an answer whose RATE was RATIO times the one that was forecast without correction."""
    if not _is_ratio(ratio) or not (is_small(shape) or 1 / WIDEST <= ratio <= WIDEST):
        return ratios
    changed = dict(ratios)
    for key in dict.fromkeys(_keys(rate, shape, settings)):
        # The newest last: what has not been used for long is forgotten first.
        changed[key] = (*changed.pop(key, ()), ratio)[-_MOST_RATIOS:]
    return dict([*changed.items()][-_MOST_KEYS:])


def to_corrections(ratios: Ratios) -> Mapping[str, float]:
    """The factor for each key of RATIOS."""
    return {key: _factor(values, _BOUNDS_OF_SMALL if _MARK in key else _BOUNDS) for key, values in ratios.items()}


def is_small(shape: ModelShape) -> bool:
    """Whether the rates of such a model tell nothing of larger ones."""
    return sum(_type_sizes(shape).values()) < SMALL_MODEL


def ratios_from_json(stored: object) -> Ratios:
    """The ratios in STORED, without what is none."""
    if not isinstance(stored, dict):
        return {}
    found = {key: values for key, values in stored.items() if isinstance(values, list) and values}
    return {key: tuple(values[-_MOST_RATIOS:]) for key, values in found.items() if all(map(_is_ratio, values))}


def _is_ratio(value: object) -> bool:
    return isinstance(value, float) and 1 / _WIDEST_OF_SMALL <= value <= _WIDEST_OF_SMALL


def _factor(ratios: Sequence[float], bounds: tuple[float, float]) -> float:
    """The upper third of RATIOS, and of the forecast itself until there are many.

    A busy machine makes answers slower and never faster, so one slow answer changes nothing, and three do.
    """
    low, high = bounds
    ordered = sorted(ratios if len(ratios) == _MOST_RATIOS else (1.0, *ratios))
    return min(high, max(low, ordered[2 * len(ordered) // 3]))


def _keys(rate: Rate, shape: ModelShape, settings: PlanSettings) -> tuple[str, str]:
    """What names this model with these settings, and what names its most frequent type and its device.

    A small model has no others that it teaches anything about, and is named twice.
    """
    placed = (settings.gpu_layers, settings.cpu_moe, settings.overrides, settings.kv_type)
    digest = hashlib.sha256(repr((shape, placed)).encode()).hexdigest()[:16]
    if is_small(shape):
        return (f"{rate}{_MARK}{digest}",) * 2
    sizes = _type_sizes(shape)
    device = "gpu" if 2 * settings.gpu_layers > len(shape.order) else "cpu"
    return f"{rate} {digest}", f"{rate} {device} {max(sizes, key=sizes.__getitem__)}"


def _type_sizes(shape: ModelShape) -> Counter[str]:
    """Bytes of the layers by their types."""
    sizes = Counter[str]()
    for index in shape.order:
        kind = shape.kinds[index]
        for name, size in (*kind.attention, *kind.feed_forward, *kind.experts):
            sizes[name] += size
    return sizes
