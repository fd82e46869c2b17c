"""Compute buffers: what ggml's allocator keeps at the same time of the results of a graph.

Its peak is in one layer, in whichever part of it takes most: each result is a matrix with a row for each token of a
batch, so its size is a number of elements for each token. The sums below were read off llama.cpp's own planner, and
`tools/planner_check.py` compares them with it.
"""

from collections.abc import Sequence

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.engines.planner.kv_cache import cells, row_bytes

_FLOAT, _HALF, _INDEX = 4, 2, 8
_POSITIONS = 32
"""Bytes of positions and indices for each token."""
_LATE_OUTPUT = frozenset(
    "bailingmoe3 cohere2moe gemma4 glm4moe gpt-oss hy_v3 mimo2 nemotron_h nemotron_h_moe qwen35 qwen35moe qwen3next "
    "step35".split()
)
"""Architectures that compute their last layer for all tokens of a batch, although only the last one has an output."""


def compute_bytes(
    shape: ModelShape, settings: PlanSettings, parts: Sequence[range], *, computes_on_host: bool
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
    inputs, layer = _inputs(shape, settings, rows), _layer(shape, settings, rows)
    embeddings = 2 * rows * _FLOAT * shape.width
    sizes = []
    for device, part in enumerate(parts):
        size = _output(shape, rows) if layers in part else 0
        if part.start < min(part.stop, layers) or (device == 0 and computes_on_host):
            size = max(size, inputs + layer)
        elif device == 0:
            size += inputs + embeddings
        sizes.append(size)
    sizes[0] += _FLOAT * shape.vocabulary  # where the sampler reads the logits
    return sizes


def _inputs(shape: ModelShape, settings: PlanSettings, rows: int) -> int:
    """Masks and indices, one set for each size of KV cache."""
    kinds = {kind.window: kind for kind in shape.kinds if kind.key_width}
    tokens = sum(cells(settings, window) for window in kinds)
    if settings.flash_attention:
        return rows * (_POSITIONS + _HALF * tokens)
    # The values are stored transposed then, so each element has an index.
    values = sum(kind.value_width for kind in kinds.values())
    return rows * (_POSITIONS + _FLOAT * tokens + _INDEX * values)


def _layer(shape: ModelShape, settings: PlanSettings, rows: int) -> int:
    """The largest part of a layer."""
    width, queries = shape.width, max(kind.query_width for kind in shape.kinds)
    state = max(kind.state_width for kind in shape.kinds)
    elements = [
        3 * shape.activation_width + 3 * width + max(width, queries),
        shape.experts_used * (2 * width + shape.inner_width) + 3 * width,
        state and state + 3 * width + queries,
    ]
    scores = [_scores(shape, kind, settings, rows) for kind in shape.kinds if kind.key_width]
    attention = rows * _FLOAT * (3 * width + 2 * queries) + max(scores, default=0)
    return max(rows * _FLOAT * max(elements) + max(kind.state_bytes for kind in shape.kinds), attention)


def _scores(shape: ModelShape, kind: LayerShape, settings: PlanSettings, rows: int) -> int:
    """The attention matrix of all heads, which flash attention never has whole."""
    if settings.flash_attention:
        return 0
    tokens = cells(settings, kind.window)
    # Where the key holds the value too, that is copied out of it.
    values = 0 if kind.value_width else tokens * row_bytes(kind.key_width, settings)
    return rows * _FLOAT * shape.heads * tokens + values


def _output(shape: ModelShape, rows: int) -> int:
    """The output projection of the last token, and what comes to it for the others in some architectures."""
    is_late = shape.architecture in _LATE_OUTPUT or not any(kind.key_width for kind in shape.kinds)
    late = rows * (2 + shape.experts_used) * shape.width if is_late else 0
    return _FLOAT * (shape.vocabulary + (2 + shape.experts_used) * shape.width + late)
