"""Which layers of a model have a sliding window, as llama.cpp decides it (src/models/*.cpp)."""

from collections.abc import Mapping
from dataclasses import dataclass

from localllm_magics.catalog.hyperparameters import Hyperparameters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """The windows of an architecture.

    Args:
        period: One layer in so many sees the whole context; 0 is none, 1 is all.
        size: Tokens where the file names none; 0 is no window.
        is_fixed: SIZE holds whatever the file names.
        dense_first: The first layer of a period is the one that sees all, instead of the last.
        layers: The only number of layers that the windows are for; 0 is any.
    """

    period: int = 1
    size: int = 0
    is_fixed: bool = False
    dense_first: bool = False
    layers: int = 0


_ARCHITECTURES: Mapping[str, _Windows] = {
    "afmoe": _Windows(period=4),
    "cohere2": _Windows(period=4),
    "cohere2moe": _Windows(period=4, dense_first=True),
    "dots3note": _Windows(),
    "exaone-moe": _Windows(period=4, size=128),
    "exaone4": _Windows(period=4, size=4096, layers=64),
    "gemma2": _Windows(period=2, size=4096),
    "gemma3": _Windows(period=6),
    "gemma3n": _Windows(period=5),
    "gemma4": _Windows(),
    "gpt-oss": _Windows(period=2),
    "granite_swa": _Windows(),
    "laguna": _Windows(period=4, dense_first=True),
    "lfm2": _Windows(period=0),
    "llama4": _Windows(period=4, size=8192, is_fixed=True),
    "maple": _Windows(),
    "mellum": _Windows(period=4),
    "mimo2": _Windows(),
    "muse-glimmer": _Windows(period=4),
    "olmo2": _Windows(period=4),
    "plamo3": _Windows(period=8),
    "smallthinker": _Windows(period=4, size=4096, is_fixed=True, dense_first=True),
    "spark2_5": _Windows(),
    "step35": _Windows(),
}
"""Any other architecture has none, whatever its file says."""
_KEY = "attention.sliding_window"
_PATTERN = "attention.sliding_window_pattern"


def sliding_windows(keys: Hyperparameters) -> tuple[int, ...]:
    """For each layer the tokens of its window; 0 is the whole context.

    Raises:
        ValueError: A number in the file cannot be right.
    """
    windows = _ARCHITECTURES.get(keys.architecture)
    if windows is None or windows.layers not in (0, keys.layers):
        return (0,) * keys.layers
    named = keys.number(_KEY, windows.size)
    size = windows.size if windows.is_fixed and named else named
    return tuple(size * has_window for has_window in _pattern(keys, windows))


def _pattern(keys: Hyperparameters, windows: _Windows) -> tuple[bool, ...]:
    """Whether each layer has a window; a file has a list, a period or neither."""
    if isinstance(keys.metadata.get(f"{keys.architecture}.{_PATTERN}"), tuple):
        return tuple(map(bool, keys.each_layer(_PATTERN)))
    period = keys.number(_PATTERN, windows.period)
    full = 0 if windows.dense_first else period - 1
    return tuple(period == 0 or layer % period != full for layer in range(keys.layers))
