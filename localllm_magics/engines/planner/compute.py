"""Compute buffers: what ggml's allocator keeps at the same time of the results of a graph.

Its peak is in one layer, in whichever part of it takes most. Each result is a matrix with a row for each token of a
batch, so its size is a number of elements for each token. The sums below were read off llama.cpp's own planner, and
`tools/planner_check.py` compares them with it.
"""

from collections.abc import Collection, Sequence

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
_LATE_EXPERTS = frozenset({"gpt-oss", "mimo2"})
"""Those of them whose experts are summed where the output is."""


def compute_bytes(
    shape: ModelShape, settings: PlanSettings, parts: Sequence[range], elsewhere: Collection[int]
) -> list[int]:
    """Bytes for the host and for each device.

    Args:
        shape: The sizes of the model.
        settings: Those of the plan.
        parts: The layers of the host and of each device.
        elsewhere: The layers whose experts are not where the layer is.
    """
    rows = min(settings.batch, cells(settings))
    embeddings, inputs = rows * _FLOAT * shape.width, _inputs(shape, settings, rows)
    feed_forward = rows * _FLOAT * _feed_forward(shape)
    host = inputs + 2 * embeddings
    if parts[0]:
        host = inputs + max(feed_forward, _mixer(shape, settings, rows, parts[0]))
    elif elsewhere:
        host = max(host, inputs + feed_forward)
    sizes = [max(host, _output(shape, rows, parts[0]))]
    # Only the host has the embeddings of the batch; results of experts take their place elsewhere.
    spared = embeddings if not shape.experts and _has_attention(shape) else 0
    for part in parts[1:]:
        size = _output(shape, rows, part)
        if part.start < min(part.stop, len(shape.order)):
            is_whole = any(layer not in elsewhere for layer in _computed(shape, part))
            rest = feed_forward if is_whole else rows * _FLOAT * _summed(shape)
            size = max(size, inputs + max(rest, _mixer(shape, settings, rows, part)) - spared)
        sizes.append(size)
    if len(parts) > 2 and not (parts[0] or settings.overrides or settings.cpu_moe):
        sizes = [size + extra for size, extra in zip(sizes, _pipeline(shape, parts, inputs, embeddings), strict=True)]
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


def _summed(shape: ModelShape) -> int:
    """Elements for each token where the results of experts are summed that are computed elsewhere."""
    queries = max(kind.query_width for kind in shape.kinds)
    return (shape.experts_used + 2) * shape.width + 2 * queries if shape.experts else 0


def _mixer(shape: ModelShape, settings: PlanSettings, rows: int, part: range) -> int:
    """The part of a layer that mixes tokens, attention or recurrence."""
    kinds = [shape.kinds[index] for index in set(shape.order[part.start : part.stop])]
    sizes = [0]
    for kind in kinds:
        elements = 3 * shape.width + kind.query_width
        sizes.append(rows * _FLOAT * (elements + kind.query_width) + _scores(shape, settings, rows, kind))
        sizes.append(rows * _FLOAT * (elements + kind.state_width) + kind.state_bytes)
    return max(sizes)


def _scores(shape: ModelShape, settings: PlanSettings, rows: int, kind: LayerShape) -> int:
    """The attention matrix of all heads, which flash attention never has whole."""
    if settings.flash_attention or not kind.key_width:
        return 0
    tokens = cells(settings, kind.window)
    # Where the key holds the value too, that is copied out of it.
    values = 0 if kind.value_width else tokens * row_bytes(kind.key_width, settings)
    return rows * _FLOAT * shape.heads * tokens + values


def _output(shape: ModelShape, rows: int, part: range) -> int:
    """The output projection of the last token, and what comes to it for the others in some architectures."""
    if len(shape.order) not in part:
        return 0
    experts = shape.experts_used if shape.architecture in _LATE_EXPERTS else min(1, shape.experts)
    late = rows * (2 + experts) if _is_late(shape) else 0
    return _FLOAT * (shape.vocabulary + (2 + shape.experts_used + late) * shape.width)


def _computed(shape: ModelShape, part: range) -> range:
    """The layers in PART whose feed-forward part is computed for all tokens of a batch."""
    return range(part.start, min(part.stop, len(shape.order) - (not _is_late(shape))))


def _pipeline(shape: ModelShape, parts: Sequence[range], inputs: int, embeddings: int) -> list[int]:
    """What the copies of inputs, and of what one device passes on to the next, add."""
    passed = _COPIES * embeddings * (1 if _has_attention(shape) else 3)
    sizes = [(_COPIES - 1) * (inputs + embeddings)]
    for part in parts[1:]:
        # Another device passes on twice as much as the host.
        size = (_COPIES - 1) * inputs + passed * (2 if part.start else 1)
        sizes.append(size if part.start < len(shape.order) and part else 0)
    return sizes


def _is_late(shape: ModelShape) -> bool:
    return shape.architecture in _LATE_OUTPUT or not _has_attention(shape)


def _has_attention(shape: ModelShape) -> bool:
    return any(kind.key_width for kind in shape.kinds)
