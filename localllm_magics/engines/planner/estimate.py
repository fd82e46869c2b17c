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
    weights = _weights(shape, settings, parts, [place.name for place in places])
    caches = [cache_bytes(kind, settings) for kind in shape.kinds]
    kv_caches = [_sum(caches, shape, part) for part in parts]
    computes = compute_bytes(shape, settings, parts, _borrower(machine))
    return MemoryPlan(
        settings=settings,
        uses=tuple(
            DeviceUse(memory=memory, weights=bytes_, kv_cache=kv_cache, compute=compute)
            for memory, bytes_, kv_cache, compute in zip(places, weights, kv_caches, computes, strict=True)
        ),
    )


def _borrower(machine: MachineMemory) -> int:
    """The device that computes with weights of the host; over a network it would take too long."""
    names = [device.name for device in machine.devices]
    return next((index for index, name in enumerate(names, 1) if not name.startswith("RPC")), 0)


def _weights(shape: ModelShape, settings: PlanSettings, parts: Sequence[range], names: Sequence[str]) -> list[int]:
    """Bytes of weights on each device."""
    kinds = [_bytes(_sizes(kind)) for kind in shape.kinds]
    moved = _moved(shape, settings, parts, names)
    weights = [int(given) + _sum(kinds, shape, part) for part, given in zip(parts, moved, strict=True)]
    output = next(device for device, part in enumerate(parts) if len(shape.order) in part)
    weights[output] += _bytes(shape.output)
    weights[0] += _bytes(shape.input) + int(_copies(shape, settings, parts[0], moved[0]))
    return weights


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
    output = shape.output if shape.is_tied and layers in part else ()
    tied, size = max(output, key=itemgetter(1), default=("", 0))
    is_repacked = settings.repack and tied in REPACKED
    if not (settings.repack and settings.map_file):
        return 0 if is_repacked else -size
    kinds = [_repacked(_sizes(kind)) for kind in shape.kinds]
    return moved + _sum(kinds, shape, part) + (_repacked(shape.output) if layers in part else 0) - size


def _sum(of_kinds: Sequence[int], shape: ModelShape, part: range) -> int:
    """The sum for the layers in PART, of which each has what its kind has."""
    return sum(of_kinds[index] for index in shape.order[part.start : part.stop])


def _sizes(kind: LayerShape) -> TypeSizes:
    return (*kind.attention, *kind.feed_forward, *kind.experts)


def _bytes(sizes: TypeSizes) -> int:
    return sum(size for _, size in sizes)


def _repacked(sizes: TypeSizes) -> int:
    return sum(size for name, size in sizes if name in REPACKED)
