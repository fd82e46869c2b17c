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
ROUNDED = 256


def cells(settings: PlanSettings, window: int = 0) -> int:
    """Tokens that the cache of a layer has room for."""
    context = _round_up(settings.context)
    return min(context, _round_up(window + settings.batch)) if window else context


def cache_bytes(layer: LayerShape, settings: PlanSettings) -> int:
    """Bytes of the KV cache and of the recurrent state of LAYER."""
    rows = row_bytes(layer.key_width, settings) + row_bytes(layer.value_width, settings)
    return cells(settings, layer.window) * rows + layer.state_bytes


def row_bytes(width: int, settings: PlanSettings) -> int:
    """Bytes of the key or the value of a token, which has WIDTH elements."""
    block, size = BLOCKS[settings.kv_type]
    return -(-width // block) * size


def _round_up(tokens: int) -> int:
    return -(-tokens // ROUNDED) * ROUNDED
