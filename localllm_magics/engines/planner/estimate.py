"""A memory plan from the sizes of a model alone, for lists and sliders: no file is opened, and nothing is loaded."""

from collections.abc import Sequence
from operator import itemgetter

from localllm_magics.core.memory_plan import DeviceUse, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape, TypeSizes
from localllm_magics.engines.planner.compute import compute_bytes
from localllm_magics.engines.planner.kv_cache import cache_bytes
from localllm_magics.engines.planner.overrides import moves
from localllm_magics.engines.planner.split import split_layers

REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"})
"""The types that llama.cpp repacks for AVX2 and AVX-512."""


def estimate(shape: ModelShape, settings: PlanSettings, machine: MachineMemory) -> MemoryPlan:
    """The memory that a model of SHAPE needs on each device of MACHINE."""
    places = (machine.host, *machine.devices)
    parts = split_layers(len(shape.order), settings, machine)
    kinds = [_bytes(_sizes(kind)) for kind in shape.kinds]
    caches = [cache_bytes(kind, settings) for kind in shape.kinds]
    weights = _moved(shape, settings, parts, [place.name for place in places])
    elsewhere = {move.layer for move in moves(settings, len(shape.order)) if move.experts == 1}
    computes = compute_bytes(shape, settings, parts, elsewhere)
    weights[0] += _bytes(shape.input) + _copies(shape, settings, parts[0], weights[0])
    uses = []
    for memory, part, moved, compute in zip(places, parts, weights, computes, strict=True):
        layers = shape.order[part.start : part.stop]
        output = _bytes(shape.output) if len(shape.order) in part else 0
        uses.append(
            DeviceUse(
                memory=memory,
                weights=int(moved) + output + sum(kinds[index] for index in layers),
                kv_cache=sum(caches[index] for index in layers),
                compute=compute,
            )
        )
    return MemoryPlan(settings=settings, uses=tuple(uses))


def _moved(shape: ModelShape, settings: PlanSettings, parts: Sequence[range], names: Sequence[str]) -> list[float]:
    """Bytes that overrides give to each device, or take from it."""
    moved = [0.0] * len(parts)
    owners = [device for device, part in enumerate(parts) for _ in part]
    sizes = [(_bytes(kind.feed_forward), _bytes(kind.experts)) for kind in shape.kinds]
    for move in moves(settings, len(shape.order)):
        feed_forward, experts = sizes[shape.order[move.layer]]
        size = move.feed_forward * feed_forward + move.experts * experts
        moved[owners[move.layer]] -= size
        moved[names.index(move.device) if move.device in names else 0] += size
    return moved


def _copies(shape: ModelShape, settings: PlanSettings, part: range, moved: float) -> float:
    """Bytes that the CPU's weights take beyond, or below, the tensors in PART and the MOVED ones.

    A model whose output is tied computes it with the embeddings themselves, unless those are repacked for it. A file
    that is mapped has all weights in it, and the repacked ones, with all that was moved, lie in memory once more.
    """
    layers = len(shape.order)
    tied, size = max(shape.output, key=itemgetter(1)) if shape.is_tied and layers in part else ("", 0)
    is_repacked = settings.repack and tied in REPACKED
    if not (settings.repack and settings.map_file):
        return 0 if is_repacked else -size
    kinds = [_repacked(_sizes(kind)) for kind in shape.kinds]
    output = _repacked(shape.output) if layers in part else 0
    return moved + sum(kinds[index] for index in shape.order[part.start : part.stop]) + output - size


def _sizes(kind: LayerShape) -> TypeSizes:
    return (*kind.attention, *kind.feed_forward, *kind.experts)


def _bytes(sizes: TypeSizes) -> int:
    return sum(size for _, size in sizes)


def _repacked(sizes: TypeSizes) -> int:
    return sum(size for name, size in sizes if name in REPACKED)
