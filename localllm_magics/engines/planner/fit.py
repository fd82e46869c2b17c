"""Whether and how a model fits into the memory that is free, from its sizes alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from localllm_magics.core.memory_plan import Fit, MachineMemory, MemoryPlan, PlanSettings, Verdict
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.estimate import estimate

MARGIN = 1 << 30
"""Bytes that llama.cpp's placement leaves free on each device."""
_SPLIT_LAYERS = ("ffn_down.*", "ffn_(gate|gate_up|down).*", "ffn_(gate|up|gate_up|down).*")
"""What of a layer stays on the CPU where not all of its experts do, the least first."""
EXPERTS = "ffn_(up|down|gate_up|gate)_(ch|)exps"
"""The tensors of experts, as llama.cpp names them."""


def fit(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> Fit:
    """The placement of a model with the context of BASE: as much on GPUs as llama.cpp's own placement would put there.

    Args:
        shape: The sizes of the model.
        machine: What is free.
        base: Its layers and overrides are chosen anew.
    """
    settings = place(shape, machine, base)
    plan = estimate(shape, settings, machine)
    return Fit(
        verdict=_verdict(plan, len(shape.order) + 1),
        needed_bytes=plan.needed,
        free_bytes=machine.host.free + sum(device.free for device in machine.devices if not device.is_host),
        max_gpu_layers=settings.gpu_layers,
        overrides=settings.overrides,
        context=base.context,
    )


class _Trial:
    """Placements of a model that are tried one after the other."""

    def __init__(self, shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> None:
        self.everything = len(shape.order) + 1
        self.parts_experts = bool(shape.experts and not base.cpu_moe)
        self._shape, self._machine, self._base = shape, machine, base

    def settings(self, count: int, whole: int = 1, split: str = EXPERTS) -> PlanSettings:
        """The last COUNT layers on GPUs, of a model with experts the first WHOLE of them with all that they have.

        Of the next one, what SPLIT matches is on the CPU, and of all others the experts. llama.cpp leaves one whole.
        """
        first = self.everything - count + whole
        parted = range(first, self.everything - 1) if self.parts_experts else range(0)
        overrides = tuple(_pattern(layer, split if layer == first else EXPERTS) for layer in parted)
        return replace(self._base, gpu_layers=count, overrides=overrides)

    def spare(self, count: int, whole: int = 1, split: str = EXPERTS) -> int:
        """Bytes that are left on the fullest device; below 0 where some are missing."""
        uses = estimate(self._shape, self.settings(count, whole, split), self._machine).uses[1:]
        used = [use for use in uses if use.needed] or uses  # a device that gets nothing may be full
        return min(use.memory.free - use.needed - MARGIN for use in used)


def place(shape: ModelShape, machine: MachineMemory, base: PlanSettings) -> PlanSettings:
    """BASE with as much on GPUs as fits, in place of its own layers and overrides.

    Args:
        shape: The sizes of the model.
        machine: What is free.
        base: With `cpu_moe`, as many layers as fit beside those experts on the CPU.
    """
    base = replace(base, gpu_layers=0, overrides=(), split=())
    if not machine.devices:
        return base
    trial = _Trial(shape, machine, base)
    everything = trial.everything
    if trial.spare(everything, whole=everything) >= 0:
        return trial.settings(everything, whole=everything)
    # Of a model with experts all else is worth more on a GPU.
    count = _filled(0, everything, trial.spare)
    if not (count and trial.parts_experts and trial.spare(everything, whole=0) > 0):
        return trial.settings(count)
    # Then as many of the first layers as fit get their experts too, and the next one a part of them.
    whole = _filled(1, count, partial(trial.spare, count))
    splits = (split for split in _SPLIT_LAYERS if trial.spare(count, whole, split) > 0)
    return trial.settings(count, whole, next(splits, EXPERTS))


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


def _verdict(plan: MemoryPlan, everything: int) -> Verdict:
    if not _fits_host(plan):
        return "too big"
    if not plan.settings.gpu_layers:
        return "cpu"
    return "gpu" if plan.settings.gpu_layers == everything and not plan.settings.overrides else "partial"


def _fits_host(plan: MemoryPlan) -> bool:
    host, *devices = plan.uses
    return host.needed + sum(use.needed for use in devices if use.memory.is_host) <= host.memory.free
