"""The size of a KV cache and of recurrent states."""

from collections.abc import Mapping

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape

BLOCKS: Mapping[str, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "iq4_nl": (32, 18),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
}
"""Elements and bytes of a block, by the type of the cache."""
QUANTIZED = ("q8_0", "q4_0")
"""Smaller types than the usual one, which need flash attention."""
_ROUNDED = 256


def cells(settings: PlanSettings, window: int = 0) -> int:
    """Tokens that the cache of a layer has room for."""
    context = round_up(settings.context)
    return min(context, round_up(min(context, window + settings.batch))) if window else context


def cache_bytes(layer: LayerShape, settings: PlanSettings) -> int:
    """Bytes of the KV cache and of the recurrent state of LAYER."""
    block, size = BLOCKS[settings.kv_type]
    row = sum(-(-width // block) * size for width in (layer.key_width, layer.value_width))
    return cells(settings, layer.window) * row + layer.state_bytes


def round_up(tokens: int) -> int:
    """Tokens as llama.cpp rounds them."""
    return -(-tokens // _ROUNDED) * _ROUNDED
