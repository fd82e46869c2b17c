"""Plans a load: how large the context is, how many layers go to GPUs, and how the file is read."""

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.request import DEFAULT_CONTEXT, GpuLayers
from localllm_magics.engines.kernel.library import Device

SMALLEST_DEFAULT_CONTEXT = 512
_WEIGHTS_SHARE = 0.8  # the rest is for the KV cache and compute buffers


def fits_in_memory(size_bytes: int, free: int) -> bool:
    """Whether weights can be copied into memory, with room for a context."""
    return size_bytes <= _WEIGHTS_SHARE * free


def context_size(
    requested: int | None, trained: int, bytes_per_token: int, free: int, default: int = DEFAULT_CONTEXT
) -> int:
    """Tokens of context to allocate.

    Args:
        requested: By the user; None for the trained size, bounded by DEFAULT and by half the free memory.
        trained: Tokens that the model was trained with.
        bytes_per_token: KV cache bytes of one token.
        free: Bytes of free memory.
        default: The most that is allocated without a request.

    Raises:
        NotEnoughMemory: What was requested does not fit.
    """
    fits = free // max(1, bytes_per_token)
    if requested is None:
        size = min(trained, default)
        while size > SMALLEST_DEFAULT_CONTEXT and size > fits // 2:
            size //= 2
        return size
    if requested <= fits:
        return requested
    largest = min(trained, fits // 2)
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


def gpu_layers(requested: GpuLayers | None, layers: int, size_bytes: int, devices: list[Device]) -> int:
    """Layers to put on GPUs; the output layer counts as one more, as in llama.cpp."""
    everything = layers + 1
    if requested == "all":
        return everything
    if isinstance(requested, int):
        return min(requested, everything)
    free = sum(device.free_bytes for device in devices if device.is_gpu)
    # A tenth stays free for the KV cache and compute buffers of a usual context.
    return min(everything, int(0.9 * free * everything / max(1, size_bytes)))
