"""How much memory a model needs, where, what is free there, and how fast it will be; all sizes are in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["gpu", "partial", "cpu", "too big"]
HOST = "CPU"
CHUNK = 256
"""Tokens of a prompt computed at a time: enough for full speed, few enough to show progress."""
FORECAST_PROMPT = 1000
"""Tokens of the prompt whose rate is forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """The memory of a device of the build, or of the host.

    Args:
        name: llama.cpp's name of the device, such as `CUDA0`; `CPU` is the host.
        is_host: Whether its memory is the host's: the host itself, and devices with unified memory.
        limit: What leaves no more, in words, where that is not the hardware: `this process may use 2.0 GB`.
        swap: Free space for what is swapped out, where nothing else limits.
        counts_mapped: Whether mapped files count as well, which elsewhere leave memory where it is needed.
    """

    name: str
    free: int
    total: int
    is_host: bool = False
    limit: str = ""
    swap: int = 0
    counts_mapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMemory:
    """What this process can take now.

    Args:
        host: The host, limits of containers and of the process included.
        devices: GPUs and other devices that layers can be offloaded to, in llama.cpp's order.
    """

    host: DeviceMemory
    devices: tuple[DeviceMemory, ...] = ()

    def with_returned(self, returned: Mapping[str, int]) -> "MachineMemory":
        """What it could take once these bytes, by the name of the memory, are given back."""
        shared = sum(returned.get(memory.name, 0) for memory in (self.host, *self.devices) if memory.is_host)
        devices = tuple(_with_more(device, returned.get(device.name, 0)) for device in self.devices)
        return MachineMemory(host=_with_more(self.host, shared), devices=devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """What a plan is made for.

    Args:
        context: Tokens of context.
        gpu_layers: Layers on GPUs, the output layer counted as one more, as in llama.cpp.
        cpu_moe: The first layers whose expert tensors stay on the CPU.
        overrides: Patterns of tensors that stay on the CPU beside those, as llama.cpp's placement chose them; one that
            ends in `=` and the name of a device goes there.
        split: Layers on each GPU, where there are several and llama.cpp's placement chose them.
        kv_type: The type of the KV cache, as llama.cpp names it.
        batch: Tokens of a prompt that are computed at a time (`n_ubatch`).
        flash_attention: Whether the attention matrix is never stored whole.
        repack: Whether the CPU's weights are repacked for its instruction set.
        map_file: Whether the CPU's weights are mapped from the file instead of copied.
    """

    context: int
    gpu_layers: int = 0
    cpu_moe: int = 0
    overrides: tuple[str, ...] = ()
    split: tuple[int, ...] = ()
    kv_type: str = "f16"
    batch: int = CHUNK
    flash_attention: bool = True
    repack: bool = True
    map_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """What a model takes of one device.

    Args:
        weights: Weights, as they lie there: repacked ones included, and mapped ones too.
        kv_cache: KV cache and recurrent state.
        compute: Compute buffers.
    """

    memory: DeviceMemory
    weights: int = 0
    kv_cache: int = 0
    compute: int = 0

    @property
    def needed(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.compute


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The memory that a model needs with these settings.

    Args:
        uses: The host first, then each device.
        is_exact: llama.cpp itself has computed it, without allocating anything; else it is estimated from the header.
        reserve: Bytes of the host that a load needs for a while beside that.
    """

    settings: PlanSettings
    uses: tuple[DeviceUse, ...]
    is_exact: bool = False
    reserve: int = 0

    @property
    def needed(self) -> int:
        """All memory, of the host and of devices."""
        return sum(use.needed for use in self.uses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether and how a model fits into the memory that is free now.

    Args:
        verdict: All layers fit on GPUs, some do, it runs on the CPU, or it fits nowhere.
        needed_bytes: Of the host and of devices together, for `context`.
        free_bytes: Likewise; memory that is shared counts once.
        max_gpu_layers: The most layers that fit on GPUs, the output layer counted as one more; 0 without a GPU.
        overrides: Patterns of tensors that llama.cpp's placement leaves on the CPU.
        context: Tokens of context that this holds for.
    """

    verdict: Verdict
    needed_bytes: int
    free_bytes: int
    max_gpu_layers: int = 0
    overrides: tuple[str, ...] = ()
    context: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How fast a model will be on this machine.

    Args:
        tokens_per_second: Decode.
        prompt_tokens_per_second: Prompt processing, of `FORECAST_PROMPT` tokens.
    """

    tokens_per_second: float
    prompt_tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The decode rate of an answer, in tokens per second, as it was forecast and as it was."""

    forecast: float
    measured: float


def _with_more(memory: DeviceMemory, size: int) -> DeviceMemory:
    return replace(memory, free=min(memory.free + size, max(memory.free, memory.total)))
