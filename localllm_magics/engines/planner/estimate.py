"""A memory plan from the sizes of a model alone, for lists and sliders: no file is opened, and nothing is loaded."""

from collections.abc import Iterable, Iterator, Sequence

from localllm_magics.core.memory_plan import DeviceUse, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.compute import compute_bytes
from localllm_magics.engines.planner.kv_cache import cache_bytes
from localllm_magics.engines.planner.overrides import moves
from localllm_magics.engines.planner.split import split_layers

REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"})
"""The types that llama.cpp repacks for AVX2 and AVX-512."""
_Size = tuple[str, float]
"""A ggml type and bytes of it."""


def estimate(shape: ModelShape, settings: PlanSettings, machine: MachineMemory) -> MemoryPlan:
    """The memory that a model of SHAPE needs on each device of MACHINE."""
    parts = split_layers(len(shape.order), settings, machine)
    places = (machine.host, *machine.devices)
    taken, given = _moved(shape, settings, parts, [place.name for place in places])
    kinds = [_bytes((*kind.attention, *kind.feed_forward, *kind.experts)) for kind in shape.kinds]
    caches = [cache_bytes(kind, settings) for kind in shape.kinds]
    computes = compute_bytes(shape, settings, parts, computes_on_host=bool(given[0]))
    uses = []
    for device, (memory, part, compute) in enumerate(zip(places, parts, computes, strict=True)):
        layers = shape.order[part.start : part.stop]
        output = _bytes(shape.output) if len(shape.order) in part else 0
        weights = sum(kinds[index] for index in layers) + output + _bytes(given[device]) - taken[device]
        if device == 0:
            weights += _bytes(shape.input) + _copies(shape, settings, part, given[0])
        kv_cache = sum(caches[index] for index in layers)
        uses.append(DeviceUse(memory=memory, weights=int(weights), kv_cache=kv_cache, compute=compute))
    return MemoryPlan(settings=settings, uses=tuple(uses))


def _moved(
    shape: ModelShape, settings: PlanSettings, parts: Sequence[range], names: Sequence[str]
) -> tuple[list[float], list[list[_Size]]]:
    """How many bytes are taken from each device, and what is given to it."""
    taken, given = [0.0] * len(parts), [list[_Size]() for _ in parts]
    for move in moves(settings, len(shape.order)):
        owner = next(device for device, part in enumerate(parts) if move.layer in part)
        target = names.index(move.device) if move.device in names else 0
        if owner == target:
            continue
        kind = shape.kinds[shape.order[move.layer]]
        sizes = [(name, move.feed_forward * size) for name, size in kind.feed_forward]
        sizes += [(name, move.experts * size) for name, size in kind.experts]
        taken[owner] += _bytes(sizes)
        given[target] += [size for size in sizes if size[1]]
    return taken, given


def _copies(shape: ModelShape, settings: PlanSettings, part: range, given: Iterable[_Size]) -> float:
    """Bytes that the CPU's weights take beyond, or below, their own.

    A model whose output is tied computes it with the embeddings themselves, unless those are repacked for it. A file
    that is mapped has all weights in it, and the repacked ones lie in memory once more.
    """
    tied = max(shape.output, key=lambda size: size[1]) if shape.is_tied and len(shape.order) in part else ("", 0)
    is_repacked = settings.repack and tied[0] in REPACKED
    total: float = 0 if is_repacked else -tied[1]
    if settings.repack and settings.map_file:
        total += sum(size for name, size in (*_sizes(shape, part), *given) if name in REPACKED)
        total -= tied[1] if is_repacked else 0
    return total


def _sizes(shape: ModelShape, part: range) -> Iterator[_Size]:
    """All weights of the layers in PART."""
    for index in shape.order[part.start : part.stop]:
        kind = shape.kinds[index]
        yield from (*kind.attention, *kind.feed_forward, *kind.experts)
    if len(shape.order) in part:
        yield from shape.output


def _bytes(sizes: Iterable[_Size]) -> float:
    return sum(size for _, size in sizes)
