"""Decides how a model is put into memory, and compares that with what happened."""

import re
from dataclasses import dataclass

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.request import GpuLayers
from localllm_magics.engines.kernel.library import Device, rebuild_hint

LARGEST_DEFAULT_CONTEXT = 8192
SMALLEST_DEFAULT_CONTEXT = 512
_BUFFER = re.compile(r"(\S+)\s+(?:\w+ )?(?:model|KV|compute|output|RS) buffer size = *([\d.]+) MiB")
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a model really is, read from what llama.cpp says while it loads."""

    device: str
    gpu_layers: int
    memory_bytes: int


def context_size(
    asked: int | None,
    trained: int,
    bytes_per_token: int,
    free: int | None,
    usual: int = LARGEST_DEFAULT_CONTEXT,
) -> int:
    """Tokens of context to allocate.

    Args:
        asked: What the user wants, or None for the trained size, bounded by LOCAL_SERVERS and by half the free memory.
        trained: Tokens that the model was trained with.
        bytes_per_token: KV cache bytes of one token.
        free: Bytes of free memory, or None if not known.
        usual: The most that is allocated without being asked for.

    Raises:
        NotEnoughMemory: What was asked for does not fit.
    """
    fits = free // max(1, bytes_per_token) if free is not None else 2**31
    if asked is None:
        size = min(trained, usual)
        while size > SMALLEST_DEFAULT_CONTEXT and size > fits // 2:
            size //= 2
        return size
    if asked <= fits:
        return asked
    settings = ", ".join(f"--ctx {size}" for size in _smaller_contexts(min(trained, fits // 2)))
    raise NotEnoughMemory(
        f"A context of {asked:,} tokens needs {_gigabytes(asked * bytes_per_token)}, "
        f"and {_gigabytes(free or 0)} are free.",
        f"These fit: {settings}.",
    )


def smaller_context_hint(size: int) -> str:
    """What to type where a context of SIZE tokens could not be allocated."""
    if size <= SMALLEST_DEFAULT_CONTEXT:
        return "Choose a smaller model: %llm models"
    return f"Try --ctx {size // 2}."


def gpu_layers(asked: GpuLayers | None, layers: int, size_bytes: int, devices: list[Device]) -> int:
    """Layers to put on GPUs; the output layer counts as one more, as in llama.cpp."""
    everything = layers + 1
    if asked == "all":
        return everything
    if isinstance(asked, int):
        return min(asked, everything)
    free = sum(device.free_bytes for device in devices if device.is_gpu)
    # A tenth stays free for the KV cache and compute buffers of a usual context.
    return min(everything, int(0.9 * free * everything / max(1, size_bytes)))


def placement(log: str, devices: list[Device]) -> Placement:
    """What LOG, the lines of a load, says about where things went."""
    gpus = {device.name for device in devices if device.is_gpu}
    buffers = [(name, float(size)) for name, size in _BUFFER.findall(log)]
    names = list(dict.fromkeys(name for name, _ in buffers if name in gpus))
    # A build with RPC speaks of offloaded layers where there is no GPU at all.
    offloaded = _OFFLOADED.search(log) if names else None
    layers = int(offloaded[1]) if offloaded else 0
    if offloaded is None or layers < int(offloaded[2]):
        names = ["CPU", *names]
    return Placement(
        device=" + ".join(names),
        gpu_layers=layers,
        memory_bytes=int(sum(size for _, size in buffers) * 2**20),
    )


def offload_notice(asked: GpuLayers | None, wanted: int, got: int, *, supports_gpu: bool) -> str | None:
    """What to tell a user who asked for layers on a GPU, of which there are WANTED, and got fewer."""
    if asked in (None, "auto") or got >= wanted:
        return None
    layers = "All layers" if asked == "all" else "1 layer" if asked == 1 else f"{asked} layers"
    if supports_gpu:
        return f"{layers} asked, {got} on a GPU: %llm doctor lists the devices."
    return f"{layers} asked, 0 on a GPU: this build has no GPU support. {rebuild_hint()}"


def _smaller_contexts(largest: int) -> list[int]:
    sizes = [max(1, largest // divisor) for divisor in (1, 2, 4)]
    return list(dict.fromkeys(1 << (size.bit_length() - 1) for size in sizes))


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
