"""Plans a load: how large the context is, how many layers go to GPUs, and how the file is read."""

import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import DeviceMemory, DeviceUse, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import DEFAULT_CONTEXT, GpuLayers, LoadOptions
from localllm_magics.core.table import to_size
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.planner.fit import place as place_by_sizes
from localllm_magics.engines.planner.refusal import Plans, Subject, require_fit, shortage

SMALLEST_DEFAULT_CONTEXT = 512
USUAL_TRAINED_CONTEXT = 4096
RESERVE = 64 << 20
"""Memory of the host that a load needs beside its plan: for Python, for threads, and for a probe in a subprocess."""
_STAGING = 256 << 20
_LIBRARY = 32 << 20  # what it takes to import llama_cpp
_WEIGHTS_SHARE = 0.8  # where only the size of a file is known, the rest is for the KV cache and compute buffers


def require_room_for_library(reference: str, host: DeviceMemory, modules: Container[str] = sys.modules.keys()) -> None:
    """Refuse to import llama.cpp for the model of REFERENCE where that alone could end this process.

    Args:
        reference: What the message calls it.
        host: What is free.
        modules: Those that are imported.

    Raises:
        NotEnoughMemory: It could.
    """
    needed = RESERVE + (0 if "llama_cpp" in modules else _LIBRARY)
    if host.free + host.swap < needed:
        reason = f": {host.limit}" if host.limit else ""
        raise NotEnoughMemory(
            f"{reference} needs {to_size(needed)} of memory for llama.cpp alone, and {to_size(host.free)} are free"
            f"{reason}.",
            "Close what needs much memory, or use a model of a server: %llm models. --force cannot help.",
        )


def load_settings(
    info: ModelInfo,
    options: LoadOptions,
    machine: MachineMemory,
    *,
    repack: bool,
    place: Callable[[PlanSettings], PlanSettings] = lambda settings: settings,
) -> PlanSettings:
    """How the model of INFO is loaded into the memory of MACHINE.

    Args:
        info: The model.
        options: What the user has asked for.
        machine: What is free.
        repack: Whether the build can repack weights.
        place: See `placed_settings`.

    Raises:
        NotEnoughMemory: It does not fit; see `require_fit`.
    """
    plans, wanted = plans_of(info, machine), placed_settings(info, options, machine, repack=repack, place=place)
    subject = _subject(info, wanted)
    shrink = partial(_shrunk, plans, subject) if options.ctx is None else lambda settings: settings
    settings = shrink(wanted)
    if options.force and shortage(plans(settings), subject.reserve):
        settings = replace(settings, context=shrink(replace(wanted, map_file=True, repack=False)).context)
    return require_fit(plans, settings, subject, wanted=wanted, force=bool(options.force))


def has_room(info: ModelInfo, machine: MachineMemory, settings: PlanSettings) -> bool:
    """Whether a load with SETTINGS would not be refused."""
    return shortage(plans_of(info, machine)(settings), _subject(info, settings).reserve) is None


def planned_load(info: ModelInfo, options: LoadOptions, machine: MachineMemory) -> MemoryPlan:
    """The memory that there should be for a load, whether it is free or not."""
    settings = placed_settings(info, options, machine, repack=True)
    return replace(plans_of(info, machine)(settings), reserve=_subject(info, settings).reserve)


def placed_settings(
    info: ModelInfo,
    options: LoadOptions,
    machine: MachineMemory,
    *,
    repack: bool,
    place: Callable[[PlanSettings], PlanSettings] = lambda settings: settings,
) -> PlanSettings:
    """What the user has asked for, whether it fits or not, with the layers on GPUs where nothing was said of them.

    Args:
        info: The model.
        options: What the user has asked for.
        machine: What is free.
        repack: Whether the build can repack weights.
        place: Knows better than the sizes of the model which layers and tensors fit there.
    """
    wanted = wanted_settings(info, options, machine, repack=repack)
    if not machine.devices or options.gpu_layers not in (None, "auto"):
        return wanted
    return place(wanted if info.shape is None else place_by_sizes(info.shape, machine, wanted))


def wanted_settings(info: ModelInfo, options: LoadOptions, machine: MachineMemory, *, repack: bool) -> PlanSettings:
    """What the user has asked for, and the usual values of what was left out, before layers are placed."""
    layers, trained = info.layers or 0, _trained(info)
    return PlanSettings(
        context=options.ctx or min(trained, info.defaults.ctx or DEFAULT_CONTEXT),
        gpu_layers=gpu_layers(options.gpu_layers, layers, info.size_bytes or 0, machine.devices),
        cpu_moe=layers if options.cpu_moe == "all" else options.cpu_moe or 0,
        kv_type=options.kv_type or "f16",
        repack=repack,
    )


def plans_of(info: ModelInfo, machine: MachineMemory) -> Plans:
    """The memory that the model of INFO needs, from its sizes, or from its file's size where they are not known."""
    shape = info.shape
    if shape is None:
        return partial(_plan_by_size, info.size_bytes or 0, machine)
    return lambda settings: estimate(shape, settings, machine)


def context_size(requested: int | None, planned: int, bytes_per_token: int, free: int) -> int:
    """Tokens of context for weights that are in memory already, where the header did not tell what one token needs.

    Args:
        requested: By the user; None for the planned size, bounded by half the free memory.
        planned: Tokens of the plan.
        bytes_per_token: KV cache bytes of one token.
        free: Bytes of free memory.

    Raises:
        NotEnoughMemory: What was requested does not fit.
    """
    fits = free // max(1, bytes_per_token)
    if requested is None:
        size = planned
        while size > SMALLEST_DEFAULT_CONTEXT and size > fits // 2:
            size //= 2
        return size
    if requested <= fits:
        return requested
    largest = min(planned, fits // 2)
    powers = dict.fromkeys(1 << max(1, largest // divisor).bit_length() - 1 for divisor in (1, 2, 4))
    raise NotEnoughMemory(
        f"A context of {requested:,} tokens needs {requested * bytes_per_token / 1e9:.1f} GB, "
        f"and {free / 1e9:.1f} GB are free.",
        f"These fit: {', '.join(f'--ctx {size}' for size in powers)}.",
    )


def smaller_context_hint(size: int) -> str:
    """What to type where a context of SIZE tokens could not be allocated."""
    if size <= SMALLEST_DEFAULT_CONTEXT:
        return "Choose a smaller model: %llm models"
    return f"Try --ctx {size // 2}."


def gpu_layers(requested: GpuLayers | None, layers: int, size_bytes: int, devices: Sequence[DeviceMemory]) -> int:
    """Layers to put on GPUs; the output layer counts as one more, as in llama.cpp."""
    everything = layers + 1
    if requested == "all":
        return everything
    if isinstance(requested, int):
        return min(requested, everything)
    free = sum(device.free for device in devices)
    # A tenth stays free for the KV cache and compute buffers of a usual context.
    return min(everything, int(0.9 * free * everything / max(1, size_bytes)))


def _subject(info: ModelInfo, settings: PlanSettings) -> Subject:
    # Before there is a KV cache, tensors pass through such buffers on their way: one that is repacked or copied to a
    # GPU, and for GPUs that copy meanwhile, four of 64 MB.
    passing = 0 if info.shape is None else _largest_tensor(info.shape) + bool(settings.gpu_layers) * _STAGING
    return Subject(
        name=info.reference,
        layers=info.layers or 0,
        has_experts=info.shape is not None and info.shape.experts > 0,
        trained=_trained(info),
        reserve=max(RESERVE, passing),
    )


def _trained(info: ModelInfo) -> int:
    """Tokens of context that it was trained with; some files have an impossible number."""
    return info.context if info.context and info.context < 1 << 31 else USUAL_TRAINED_CONTEXT


def _largest_tensor(shape: ModelShape) -> int:
    """Bytes of the largest tensor, or a little more: gate and up may be one, of the three of a feed-forward part."""
    parts = [part for kind in shape.kinds for part in (kind.feed_forward, kind.experts)]
    largest = max((sum(size for _, size in part) for part in parts), default=0)
    return max(largest * 2 // 3, sum(size for _, size in shape.output))


def _shrunk(plans: Plans, subject: Subject, settings: PlanSettings) -> PlanSettings:
    """SETTINGS with a context whose KV cache takes at most half of what the weights leave."""
    while settings.context > SMALLEST_DEFAULT_CONTEXT:
        plan = plans(settings)
        if shortage(plan, subject.reserve + plan.uses[0].kv_cache) is None:
            break
        settings = replace(settings, context=settings.context // 2)
    return settings


def _plan_by_size(size_bytes: int, machine: MachineMemory, settings: PlanSettings) -> MemoryPlan:
    """All that is known is that weights of SIZE_BYTES need room beside them; layers on devices are not counted."""
    weights = 0 if settings.gpu_layers else size_bytes
    spare = 0 if settings.map_file else int(weights / _WEIGHTS_SHARE) - weights
    host = DeviceUse(memory=machine.host, weights=weights, compute=spare)
    return MemoryPlan(settings=settings, uses=(host, *(DeviceUse(memory=memory) for memory in machine.devices)))
