"""Compute buffers: the intermediate results of the graph that are alive at the same time, as ggml allocates them."""

from collections.abc import Sequence

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.kv_cache import cells

_FLOAT, _HALF, _INDEX = 4, 2, 8
_ROW = 32
"""Bytes of positions and indices for each token."""


def compute_bytes(
    shape: ModelShape, settings: PlanSettings, parts: Sequence[range], computes_on_host: bool
) -> list[int]:
    """Bytes for the host and for each device.

    Args:
        shape: The sizes of the model.
        settings: Those of the plan.
        parts: The layers of the host and of each device.
        computes_on_host: Tensors of layers of other devices stay on the host.
    """
    layers = len(shape.order)
    rows = min(settings.batch, cells(settings))
    embeddings = rows * _FLOAT * shape.width
    inputs, layer = _inputs(shape, settings, rows), _layer(shape, settings, rows)
    output = _FLOAT * (shape.vocabulary + 2 * shape.width)
    sizes = []
    for device, part in enumerate(parts):
        has_layers = part.start < min(part.stop, layers)
        size = output if layers in part else 0
        if has_layers or (device == 0 and computes_on_host):
            size = max(size, inputs + layer)
        elif device == 0:
            size += inputs + 2 * embeddings
        sizes.append(size)
    return sizes


def _inputs(shape: ModelShape, settings: PlanSettings, rows: int) -> int:
    """Bytes of masks and indices, one set for each KV cache."""
    kinds = {kind.window: kind for kind in shape.kinds if kind.key_width}
    tokens = sum(cells(settings, window) for window in kinds)
    if settings.flash_attention:
        return rows * (_ROW + _HALF * tokens)
    # The values are stored transposed then, so each element has an index.
    values = sum(kind.value_width for kind in kinds.values())
    return rows * (_ROW + _FLOAT * tokens + _INDEX * values)


def _layer(shape: ModelShape, settings: PlanSettings, rows: int) -> int:
    """Bytes of the results of a layer: the larger of its attention and its feed-forward part."""
    width, queries = shape.width, max((kind.query_width for kind in shape.kinds), default=0)
    used = max(1, shape.experts_used)
    feed_forward = 3 * width + max(width, queries) + max(3 * used * shape.inner_width, 2 * shape.experts_used * width)
    attention = 3 * width + 2 * queries
    if not settings.flash_attention:
        attention += shape.heads * max(
            (cells(settings, kind.window) for kind in shape.kinds if kind.key_width), default=0
        )
    return rows * _FLOAT * max(feed_forward, attention)
