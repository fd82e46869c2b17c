"""Where a loaded model is, read from llama.cpp's log, and how that differs from what was requested."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from localllm_magics.core.hints import no_experts
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.request import GpuLayers, LoadOptions
from localllm_magics.core.table import to_size
from localllm_magics.engines.kernel.library import Device
from localllm_magics.engines.planner.kv_cache import ROUNDED

_BUFFER = re.compile(r"(\S+)\s+(?:DSV4 \w+ )?(?:model|KV|compute|output|RS|state) buffer size = *([\d.]+) MiB")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_KV_TYPES = re.compile(r"\bK \((\w+)\).*\bV \((\w+)\)")
_TOLERANCE = 1.1
_SMALL = 32 << 20  # bytes by which a plan may be wrong however small the model is


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Devices, layers on GPUs, and memory of a loaded model with its context.

    Args:
        memory_bytes: On the host and on GPUs.
        device_bytes: On each GPU, by its name.
        kv_types: The types of the KV cache; none where there is no such cache.
    """

    device: str
    gpu_layers: int
    memory_bytes: int
    device_bytes: tuple[tuple[str, int], ...] = ()
    kv_types: frozenset[str] = frozenset()


def placement(log: str, devices: Sequence[Device]) -> Placement:
    """The placement that LOG, the lines of a load, reports."""
    buffers = [(name, int(float(size) * 2**20)) for name, size in _BUFFER.findall(log)]
    on_gpus = _by_gpu(buffers, devices)
    names = list(on_gpus)
    # A build with RPC speaks of offloaded layers where there is no GPU at all.
    offloaded = _OFFLOADED.search(log) if names else None
    layers, everything = map(int, offloaded.groups()) if offloaded else (0, 1)
    return Placement(
        device=" + ".join(["CPU", *names] if layers < everything else names),
        gpu_layers=layers,
        memory_bytes=sum(size for _, size in buffers),
        device_bytes=tuple(on_gpus.items()),
        kv_types=frozenset(kind for types in _KV_TYPES.findall(log) for kind in types),
    )


def _by_gpu(buffers: Iterable[tuple[str, int]], devices: Sequence[Device]) -> dict[str, int]:
    """The bytes of BUFFERS on each GPU that has some, in their order."""
    gpus = {key: gpu.name for gpu in devices if gpu.is_gpu for key in (gpu.name, gpu.buffers)}
    found: dict[str, int] = {}
    for buffer, size in buffers:
        # A device has several kinds of buffers, such as `MTL0_Mapped`.
        name = gpus.get(buffer, gpus.get(buffer.partition("_")[0]))
        if name is not None:
            found[name] = found.get(name, 0) + size
    return found


def offload_notice(
    requested: GpuLayers | None, planned: int, actual: int, devices: Sequence[Device], backends: Sequence[str] = ()
) -> str:
    """The notice for a user with fewer layers on a GPU than could be expected.

    Args:
        requested: By the user.
        planned: Layers that were to go there, of those that exist.
        actual: Layers that are there.
        devices: Those of the build.
        backends: Kinds of GPU that the build was made for.
    """
    gpus = [device for device in devices if device.is_gpu]
    if requested in (None, "auto"):
        return "" if actual else _unused_notice(gpus, backends)
    if actual >= planned:
        return ""
    layers = "All layers" if requested == "all" else "1 layer" if requested == 1 else f"{requested} layers"
    if gpus:
        return f"{layers} asked, {actual} on a GPU: `%llm doctor` lists the devices."
    if backends:
        return f"{layers} asked, 0 on a GPU: {_no_device(backends)}"
    return f"{layers} asked, 0 on a GPU: this build has no GPU support. `%llm doctor` says what to install."


def _unused_notice(gpus: Sequence[Device], backends: Sequence[str]) -> str:
    """Why a build for GPUs uses none although nobody has told it not to."""
    if gpus:
        free = ", ".join(f"{gpu.name} has {to_size(gpu.free_bytes)} free" for gpu in gpus)
        return (
            f"No layer is on a GPU: {free}, of which llama.cpp leaves 1 GB. `--gpu-layers 1` or more puts layers there "
            "all the same."
        )
    return f"No layer is on a GPU: {_no_device(backends)}" if backends else ""


def _no_device(backends: Sequence[str]) -> str:
    return f"this build is for {' and '.join(backends)}, which finds no device here. Check the driver."


def experts_notice(reference: str, settings: PlanSettings, experts: int, gpu_layers: int) -> str:
    """The notice for a user whose `--cpu-moe` changes nothing, for want of EXPERTS or of GPU_LAYERS."""
    if not settings.cpu_moe or (experts and gpu_layers):
        return ""
    if experts:
        return f"--cpu-moe changes nothing: no layer of {reference} is on a GPU."
    return no_experts(reference)


def kv_type_notice(options: LoadOptions, actual: frozenset[str]) -> str:
    """The notice for a user whose KV cache has ACTUAL types, and not the one that was asked for."""
    if options.kv_type is None or options.kv_type in actual:
        return ""
    found = f"its KV cache is of {' and '.join(sorted(actual))}" if actual else "this model has no KV cache"
    return f"--kv-type {options.kv_type} changes nothing: {found}."


def memory_notice(planned: int, actual: int) -> str:
    """The notice for a user whose model takes much more memory than was PLANNED."""
    if actual <= _TOLERANCE * planned + _SMALL:
        return ""
    return f"It takes {to_size(actual)} of memory, and {to_size(planned)} were planned."


def threads_notice(requested: int | None, cpus: int) -> str:
    """The notice for a user who requested more threads than CPUS, and got as many as there are of those."""
    if requested is None or requested <= cpus:
        return ""
    # llama.cpp's own threads never give their CPU to the one that they wait for.
    return f"{requested} threads asked, {cpus} used: no more can run at once here, and they would wait for each other."


def context_notice(requested: int | None, trained: int, actual: int) -> str:
    """The notice for a user whose context of REQUESTED tokens is more than TRAINED, or became a larger one."""
    if requested is None:
        return ""
    # Where rounding changes little, there is no notice.
    if actual >= 1.25 * requested:
        return f"The context has {actual:,} tokens: llama.cpp rounds {requested:,} up to a multiple of {ROUNDED}."
    if requested > trained:
        return f"The context of {requested:,} tokens is larger than the trained one of {trained:,}."
    return ""
