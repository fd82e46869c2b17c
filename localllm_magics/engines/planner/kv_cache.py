"""The size of a KV cache and of recurrent states."""

from localllm_magics.core.ggml_types import TENSOR_TYPES
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape

ROUNDED = 256
"""A context is rounded up to a multiple of it."""


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
    kind = TENSOR_TYPES[settings.kv_type.upper()]
    return -(-width // kind.block) * kind.block_bytes


def _round_up(tokens: int) -> int:
    return -(-tokens // ROUNDED) * ROUNDED
