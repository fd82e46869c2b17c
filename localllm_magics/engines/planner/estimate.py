"""A memory plan from the sizes of a model alone, for lists and sliders: no file is opened, and nothing is loaded."""

from collections import Counter
from collections.abc import Iterable

from localllm_magics.core.memory_plan import DeviceUse, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_shape import ModelShape, TypeSizes
from localllm_magics.engines.planner.compute import compute_bytes
from localllm_magics.engines.planner.kv_cache import cache_bytes
from localllm_magics.engines.planner.overrides import cpu_shares
from localllm_magics.engines.planner.split import split_layers

REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"})
"""The types that llama.cpp repacks for AVX2 and AVX-512."""


def estimate(shape: ModelShape, settings: PlanSettings, machine: MachineMemory) -> MemoryPlan:
    """The memory that a model of SHAPE needs on each device of MACHINE."""
    parts = split_layers(len(shape.order), settings.gpu_layers, machine)
    staying = [_staying(shape, part, settings) for part in parts]
    weights = [
        _weights(shape, part) - sum(size for _, size in stays) for part, stays in zip(parts, staying, strict=True)
    ]
    weights[0] = _host_weights(shape, parts[0], [item for stays in staying[1:] for item in stays], settings)
    caches = [cache_bytes(kind, settings) for kind in shape.kinds]
    kv_caches = [sum(caches[index] for index in shape.order[part.start : part.stop]) for part in parts]
    computes = compute_bytes(shape, settings, parts, any(staying[1:]))
    rows = zip((machine.host, *machine.devices), weights, kv_caches, computes, strict=True)
    return MemoryPlan(
        settings=settings,
        uses=tuple(
            DeviceUse(memory=memory, weights=weight, kv_cache=kv_cache, compute=compute)
            for memory, weight, kv_cache, compute in rows
        ),
    )


def _weights(shape: ModelShape, part: range) -> int:
    """Bytes of the layers in PART, and of the output where it is in PART."""
    kinds = [_bytes(kind.attention) + _bytes(kind.feed_forward) + _bytes(kind.experts) for kind in shape.kinds]
    layers = sum(kinds[index] for index in shape.order[part.start : part.stop])
    return layers + (_bytes(shape.output) if len(shape.order) in part else 0)


def _host_weights(shape: ModelShape, part: range, staying: TypeSizes, settings: PlanSettings) -> int:
    total = _bytes(shape.input) + _weights(shape, part) + _bytes(staying)
    copy = max(shape.output, key=lambda item: item[1], default=("", 0))
    has_copy = shape.is_tied and len(shape.order) in part
    if has_copy and not (settings.repack and copy[0] in REPACKED):
        total -= copy[1]  # the embeddings themselves compute the output
    if settings.map_file and settings.repack:
        total += _repacked(shape, part) + _bytes(item for item in staying if item[0] in REPACKED)
        total -= copy[1] if has_copy and copy[0] in REPACKED else 0
    return total


def _repacked(shape: ModelShape, part: range) -> int:
    """Bytes of what is in PART and repacked."""
    counts = Counter(shape.order[part.start : part.stop])
    total = 0
    for index, count in counts.items():
        kind = shape.kinds[index]
        sizes = (*kind.attention, *kind.feed_forward, *kind.experts)
        total += count * _bytes(item for item in sizes if item[0] in REPACKED)
    return total + (_bytes(item for item in shape.output if item[0] in REPACKED) if len(shape.order) in part else 0)


def _staying(shape: ModelShape, part: range, settings: PlanSettings) -> TypeSizes:
    """What of the layers in PART stays on the CPU nevertheless."""
    if not (settings.cpu_moe or settings.overrides):
        return ()
    shares = cpu_shares(settings.overrides, settings.cpu_moe, len(shape.order))
    sizes = []
    for layer, (feed_forward, experts) in shares.items():
        if layer in part and layer < len(shape.order):
            kind = shape.kinds[shape.order[layer]]
            sizes += [(name, int(feed_forward * size)) for name, size in kind.feed_forward]
            sizes += [(name, int(experts * size)) for name, size in kind.experts]
    return tuple(item for item in sizes if item[1])


def _bytes(sizes: Iterable[tuple[str, int]]) -> int:
    return sum(size for _, size in sizes)
