"""Where a loaded model is, read from llama.cpp's log, and how that differs from what was requested."""

import re
from dataclasses import dataclass

from localllm_magics.core.request import GpuLayers
from localllm_magics.engines.kernel.library import Device

_BUFFER = re.compile(r"(\S+)\s+(?:\w+ )?(?:model|KV|compute|output|RS) buffer size = *([\d.]+) MiB")
_MULTIPLE = 256
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Devices, layers on GPUs, and memory of a loaded model with its context."""

    device: str
    gpu_layers: int
    memory_bytes: int


def placement(log: str, devices: list[Device]) -> Placement:
    """The placement that LOG, the lines of a load, reports."""
    gpus = {device.name for device in devices if device.is_gpu}
    buffers = [(name, float(size)) for name, size in _BUFFER.findall(log)]
    names = list(dict.fromkeys(name for name, _ in buffers if name in gpus))
    # A build with RPC speaks of offloaded layers where there is no GPU at all.
    offloaded = _OFFLOADED.search(log) if names else None
    layers, everything = map(int, offloaded.groups()) if offloaded else (0, 1)
    if layers < everything:
        names = ["CPU", *names]
    memory_bytes = int(sum(size for _, size in buffers) * 2**20)
    return Placement(device=" + ".join(names), gpu_layers=layers, memory_bytes=memory_bytes)


def offload_notice(requested: GpuLayers | None, planned: int, actual: int, *, supports_gpu: bool) -> str:
    """The notice for a user who requested layers on a GPU, of which PLANNED exist, and got fewer."""
    if requested in (None, "auto") or actual >= planned:
        return ""
    layers = "All layers" if requested == "all" else "1 layer" if requested == 1 else f"{requested} layers"
    if supports_gpu:
        return f"{layers} asked, {actual} on a GPU: `%llm doctor` lists the devices."
    return f"{layers} asked, 0 on a GPU: this build has no GPU support. `%llm doctor` says what to install."


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
        return f"The context has {actual:,} tokens: llama.cpp rounds {requested:,} up to a multiple of {_MULTIPLE}."
    if requested > trained:
        return f"The context of {requested:,} tokens is larger than the trained one of {trained:,}."
    return ""
