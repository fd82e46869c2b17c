"""Compute buffers: what ggml's allocator keeps at the same time of the results of a graph.

Its peak is in one layer, in whichever part of it takes most. Each result is a matrix with a row for each token of a
batch, so its size is a number of elements for each token. The sums below were read off llama.cpp's own planner, and
`tools/planner_check.py` compares them with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.engines.planner.kv_cache import cache_bytes, cells, row_bytes
from localllm_magics.engines.planner.overrides import without_experts

_FLOAT, _HALF, _INDEX = 4, 2, 8
_POSITIONS = 32
"""Bytes of positions and indices for each token."""
_LARGE_BATCH = 32
_COPIES = 4
"""Of inputs, with pipeline parallelism (`GGML_SCHED_MAX_COPIES`)."""
_LATE_OUTPUT = frozenset(
    "bailingmoe3 cohere2moe gemma4 glm4moe gpt-oss hy_v3 mimo2 nemotron_h nemotron_h_moe qwen35 qwen35moe qwen3next "
    "step35".split()
)
"""Architectures that compute their last layer for all tokens of a batch, although only the last one has an output."""
_LATE_EXPERTS = frozenset({"gpt-oss", "mimo2"})
"""Those of them whose experts are summed where the output is."""


def compute_bytes(shape: ModelShape, settings: PlanSettings, parts: Sequence[range], borrower: int = 0) -> list[int]:
    """Bytes for the host and for each device.

    Args:
        shape: The sizes of the model.
        settings: Those of the plan.
        parts: The layers of the host and of each device.
        borrower: The device that computes with weights of the host, a matrix at a time, where a batch is large; 0 is
            none.
    """
    batch, (host, *devices) = _batch(shape, settings), parts
    sizes = [_host(batch, host), *(_device(batch, part) for part in devices)]
    if borrower and batch.rows >= _LARGE_BATCH:
        sizes[borrower] = max(sizes[borrower], _borrowed(batch, host))
    # Several devices that have the whole model work on several batches at a time, if nothing is overridden.
    if len(devices) > 1 and not (host or settings.overrides or settings.cpu_moe):
        sizes = [size + extra for size, extra in zip(sizes, _pipeline(batch, devices), strict=True)]
    sizes[0] += _FLOAT * shape.vocabulary  # where the sampler reads the logits
    return sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What all devices have in common.

    Args:
        rows: Tokens of the batch.
        embeddings: Bytes of its embeddings.
        inputs: Bytes of masks and indices.
        feed_forward: Bytes of the feed-forward part of a layer.
        elsewhere: The layers whose experts are not where the layer is.
    """

    shape: ModelShape
    settings: PlanSettings
    rows: int
    embeddings: int
    inputs: int
    feed_forward: int
    elsewhere: frozenset[int]


def _batch(shape: ModelShape, settings: PlanSettings) -> _Batch:
    rows = min(settings.batch, cells(settings))
    return _Batch(
        shape=shape,
        settings=settings,
        rows=rows,
        embeddings=rows * _FLOAT * shape.width,
        inputs=_inputs(shape, settings, rows),
        feed_forward=rows * _FLOAT * _feed_forward(shape),
        elsewhere=without_experts(settings, len(shape.order)),
    )


def _host(batch: _Batch, part: range) -> int:
    size = 2 * batch.embeddings
    if part:
        size = max(batch.feed_forward, _mixer(batch, part))
    elif batch.elsewhere:
        size = max(size, batch.feed_forward)
    return max(batch.inputs + size, _output(batch, part))


def _device(batch: _Batch, part: range) -> int:
    output, shape = _output(batch, part), batch.shape
    if not _has_layers(batch, part):
        return output
    layer = _mixer(batch, part)
    if all(layer in batch.elsewhere for layer in _computed(shape, part)):
        return max(output, batch.inputs + max(layer, batch.rows * _FLOAT * _summed(shape)))
    # Only the host has the embeddings of the batch, and the first layer takes theirs; experts fill the place.
    spared = batch.embeddings if not shape.experts and _has_attention(shape) else 0
    layer = max(layer, batch.feed_forward - spared * (part.start > 0))
    return max(output, batch.inputs + layer - spared)


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


def _mixer(batch: _Batch, part: range) -> int:
    """Bytes in the part of a layer that mixes tokens, attention or recurrence."""
    shape, sizes = batch.shape, [0]
    for kind in (shape.kinds[index] for index in set(shape.order[part.start : part.stop])):
        elements = 3 * shape.width + kind.query_width
        sizes.append(batch.rows * _FLOAT * (elements + kind.query_width) + _scores(batch, kind))
        sizes.append(batch.rows * _FLOAT * (elements + kind.state_width) + kind.state_bytes)
    return max(sizes)


def _scores(batch: _Batch, kind: LayerShape) -> int:
    """The attention matrix of all heads, which flash attention never has whole."""
    if batch.settings.flash_attention or not kind.key_width:
        return 0
    tokens = cells(batch.settings, kind.window)
    # Where the key holds the value too, that is copied out of it.
    values = 0 if kind.value_width else tokens * row_bytes(kind.key_width, batch.settings)
    return batch.rows * _FLOAT * batch.shape.heads * tokens + values


def _borrowed(batch: _Batch, host: range) -> int:
    """What layers of the host need on a device, with the largest matrix or KV cache of one of them."""
    shape = batch.shape
    layers = {*range(min(host.stop, len(shape.order))), *batch.elsewhere}
    kinds = [shape.kinds[index] for index in {shape.order[layer] for layer in layers}]
    if not kinds:
        return 0
    largest = max(max(_matrix(kind), cache_bytes(kind, batch.settings)) for kind in kinds)
    return batch.inputs + max(batch.feed_forward, _mixer(batch, host)) + largest


def _matrix(kind: LayerShape) -> int:
    """Bytes of one of the three matrices of a feed-forward part, of all experts together."""
    sizes: tuple[tuple[str, int], ...] = kind.feed_forward + kind.experts
    return sum(size for _, size in sizes) // 3


def _output(batch: _Batch, part: range) -> int:
    """The output projection of the last token, and what comes to it for the others in some architectures."""
    shape = batch.shape
    if len(shape.order) not in part:
        return 0
    experts = shape.experts_used if shape.architecture in _LATE_EXPERTS else min(1, shape.experts)
    late = batch.rows * (2 + experts) if _is_late(shape) else 0
    return _FLOAT * (shape.vocabulary + (2 + shape.experts_used + late) * shape.width)


def _pipeline(batch: _Batch, devices: Sequence[range]) -> list[int]:
    """What the copies of inputs, and of what one device passes on to the next, add to each."""
    used = [_has_layers(batch, part) for part in devices]
    passed = _COPIES * batch.embeddings * (3 if sum(used) > 1 and not _has_attention(batch.shape) else 1)
    sizes = [(_COPIES - 1) * (batch.inputs + batch.embeddings)]
    for part, is_used in zip(devices, used, strict=True):
        # Another device passes on more than the host does.
        size = (_COPIES - 1) * batch.inputs + (2 * passed + batch.embeddings if part.start else passed)
        sizes.append(size if is_used else 0)
    return sizes


def _has_layers(batch: _Batch, part: range) -> bool:
    return part.start < min(part.stop, len(batch.shape.order))


def _computed(shape: ModelShape, part: range) -> range:
    """The layers in PART whose feed-forward part is computed for all tokens of a batch."""
    return range(part.start, min(part.stop, len(shape.order) - (not _is_late(shape))))


def _is_late(shape: ModelShape) -> bool:
    return shape.architecture in _LATE_OUTPUT or not _has_attention(shape)


def _has_attention(shape: ModelShape) -> bool:
    return any(kind.key_width for kind in shape.kinds)
