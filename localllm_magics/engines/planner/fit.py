"""Whether and how a model fits into the memory that is free, from its sizes alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from localllm_magics.core.memory_plan import Fit, MachineMemory, MemoryPlan, PlanSettings, Verdict
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import DEFAULT_CONTEXT
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.planner.kv_cache import ROUNDED

MARGIN = 1 << 30
"""Bytes that llama.cpp's placement leaves free on each device."""
_QUANTIZED = ("q8_0", "q4_0")
"""Smaller types of the KV cache than the usual one, which need flash attention."""
_SPLIT_LAYERS = ("ffn_down.*", "ffn_(gate|gate_up|down).*", "ffn_(gate|up|gate_up|down).*")
"""What of a layer stays on the CPU where not all of its experts do, the least first."""
_EXPERTS = "ffn_(up|down|gate_up|gate)_(ch|)exps"


def fit(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> Fit:
    """The placement of a model with the context of BASE: as much on GPUs as llama.cpp's own placement would put there.

    Args:
        shape: The sizes of the model.
        machine: What is free.
        base: Its layers, experts and overrides are chosen anew.
    """
    settings = _placement(shape, machine, base)
    plan = estimate(shape, settings, machine)
    return Fit(
        verdict=_verdict(plan, len(shape.order) + 1),
        needed_bytes=plan.needed,
        free_bytes=machine.host.free + sum(device.free for device in machine.devices if not device.is_host),
        max_gpu_layers=settings.gpu_layers,
        overrides=settings.overrides,
        context=base.context,
    )


def fits(plan: MemoryPlan, margin: int = 0) -> bool:
    """Whether there is room for PLAN, with MARGIN bytes left on each device that it uses."""
    return _fits_host(plan) and _fits_devices(plan, margin)


def largest_context(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> int:
    """The most tokens up to those of BASE that fit with its other settings; 0 where none do."""

    def has_room(steps: int) -> bool:
        return fits(estimate(shape, replace(base, context=steps * ROUNDED), machine))

    steps = _most(-(-base.context // ROUNDED), has_room)
    return min(steps * ROUNDED, base.context)


def settings_that_fit(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> list[PlanSettings]:
    """What would fit instead of BASE, the smallest change first; nothing where no change is enough."""
    found = [settings for settings in _alternatives(shape, machine, base) if fits(estimate(shape, settings, machine))]
    return list(dict.fromkeys(settings for settings in found if settings != base))


def _alternatives(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> Iterator[PlanSettings]:
    smaller = [replace(base, kv_type=name) for name in _QUANTIZED if base.flash_attention and base.kv_type == "f16"]
    yield from smaller
    if shape.experts and base.gpu_layers:
        yield _fewest_experts_on_cpu(shape, machine, base)
    yield _placement(shape, machine, base)
    small = _placement(shape, machine, replace(base, context=min(base.context, DEFAULT_CONTEXT)))
    for settings in (base, *smaller, replace(small, context=base.context)):
        if context := largest_context(shape, machine, settings):
            yield replace(settings, context=context)


def _fewest_experts_on_cpu(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> PlanSettings:
    layers = len(shape.order)

    def settings(offloaded: int) -> PlanSettings:
        return replace(base, cpu_moe=layers - offloaded, overrides=())

    return settings(_most(layers, lambda count: _fits_devices(estimate(shape, settings(count), machine))))


class _Trial:
    """Placements of a model that are tried one after the other."""

    def __init__(self, shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> None:
        self.everything = len(shape.order) + 1
        self._shape, self._machine, self._base = shape, machine, base

    def settings(self, count: int, whole: int = 1, split: str = _EXPERTS) -> PlanSettings:
        """The last COUNT layers on GPUs, of a model with experts the first WHOLE of them with all that they have.

        Of the next one, what SPLIT matches is on the CPU, and of all others the experts. llama.cpp leaves one whole.
        """
        first = self.everything - count + whole
        parted = range(first, self.everything - 1) if self._shape.experts else range(0)
        overrides = tuple(_pattern(layer, split if layer == first else _EXPERTS) for layer in parted)
        return replace(self._base, gpu_layers=count, overrides=overrides)

    def spare(self, count: int, whole: int = 1, split: str = _EXPERTS) -> int:
        """Bytes that are left on the fullest device; below 0 where some are missing."""
        uses = estimate(self._shape, self.settings(count, whole, split), self._machine).uses[1:]
        used = [use for use in uses if use.needed] or uses  # a device that gets nothing may be full
        return min(use.memory.free - use.needed - MARGIN for use in used)


def _placement(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> PlanSettings:
    """BASE with as much on GPUs as fits, in place of its own layers, experts and overrides."""
    base = replace(base, gpu_layers=0, cpu_moe=0, overrides=(), split=())
    if not machine.devices:
        return base
    trial = _Trial(shape, machine, base)
    everything = trial.everything
    if trial.spare(everything, whole=everything) >= 0:
        return trial.settings(everything, whole=everything)
    # Of a model with experts all else is worth more on a GPU.
    count = _filled(0, everything, trial.spare)
    if not (count and shape.experts and trial.spare(everything, whole=0) > 0):
        return trial.settings(count)
    # Then as many of the first layers as fit get their experts too, and the next one a part of them.
    whole = _filled(1, count, partial(trial.spare, count))
    splits = (split for split in _SPLIT_LAYERS if trial.spare(count, whole, split) > 0)
    return trial.settings(count, whole, next(splits, _EXPERTS))


def _filled(low: int, high: int, spare: Callable[[int], int]) -> int:
    """A number from LOW to HIGH for which nothing is short, found as llama.cpp does it, by false position.

    Where more can take less, as of layers that differ, another way finds another number.
    """
    at_low, at_high = spare(low), spare(high)
    if at_high >= 0:
        return high
    while high - low > 1:
        guess = (high - low) * at_low // (at_low - at_high) if at_low >= 0 else high - low
        middle = low + min(max(guess, 1), high - low - 1)
        found = spare(middle)
        if found >= 0:
            low, at_low = middle, found
        else:
            high, at_high = middle, found
    return low


def _pattern(layer: int, tensors: str) -> str:
    return rf"blk\.{layer}\.{tensors}"


def _most(count: int, has_room: Callable[[int], bool]) -> int:
    """The most of up to COUNT for which there is room, where less takes less; 0 where there is room for none."""
    if has_room(count):
        return count
    low, high = 0, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if has_room(middle) else (low, middle - 1)
    return low


def _verdict(plan: MemoryPlan, everything: int) -> Verdict:
    if not _fits_host(plan):
        return "too big"
    if not plan.settings.gpu_layers:
        return "cpu"
    return "gpu" if plan.settings.gpu_layers == everything and not plan.settings.overrides else "partial"


def _fits_host(plan: MemoryPlan) -> bool:
    host, *devices = plan.uses
    return host.needed + sum(use.needed for use in devices if use.memory.is_host) <= host.memory.free


def _fits_devices(plan: MemoryPlan, margin: int = 0) -> bool:
    return all(use.needed + margin <= use.memory.free for use in plan.uses[1:] if use.needed)
