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
_COPIES = 4
"""Several devices that have the whole model work on as many batches at a time (pipeline parallelism)."""
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
        computes_on_host: Tensors of layers of other devices are on the host.
    """
    layers = len(shape.order)
    rows = min(settings.batch, cells(settings))
    embeddings = rows * _FLOAT * shape.width
    inputs, feed_forward = _inputs(shape, settings, rows), rows * _FLOAT * _feed_forward(shape)
    layer = max(feed_forward, _mixer(shape, settings, rows))
    copies = _COPIES if len(parts) > 2 and not parts[0] and not (settings.overrides or settings.cpu_moe) else 1
    host = inputs * copies + (1 + copies) * embeddings
    device = inputs * copies + (copies if copies > 1 else 0) * embeddings + layer
    sizes = [max(inputs + layer, _output(shape, rows)) if parts[0] else host]
    if computes_on_host:
        sizes[0] = max(sizes[0], feed_forward)
    for part in parts[1:]:
        size = _output(shape, rows) if layers in part else 0
        sizes.append(max(size, device) if part.start < min(part.stop, layers) else size)
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


def _feed_forward(shape: ModelShape) -> int:
    """Elements for each token in the feed-forward part of a layer, dense or with experts."""
    queries = max(kind.query_width for kind in shape.kinds)
    dense = 3 * shape.activation_width + max(shape.width, queries)
    return 3 * shape.width + max(dense, shape.experts_used * (2 * shape.width + shape.inner_width))


def _mixer(shape: ModelShape, settings: PlanSettings, rows: int) -> int:
    """Bytes in the part of a layer that mixes tokens, attention or recurrence."""
    queries = max(kind.query_width for kind in shape.kinds)
    state = max(kind.state_width for kind in shape.kinds)
    recurrence = rows * _FLOAT * (state and state + 3 * shape.width + queries)
    scores = max((_scores(shape, kind, settings, rows) for kind in shape.kinds if kind.key_width), default=0)
    attention = rows * _FLOAT * (3 * shape.width + 2 * queries) + scores
    return max(recurrence + max(kind.state_bytes for kind in shape.kinds), attention)


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
