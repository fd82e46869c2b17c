"""What a context takes of each device, from the log of a load that allocates nothing and the tensors of the file.

For builds whose library does not count by itself; see `memory_breakdown`. The log has the device of each layer, the
size of the KV cache and the compute buffers, and the file has the size of each tensor.
"""

import ctypes
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.tensor_overrides import override_patterns
from localllm_magics.engines.kernel.worker.memory_breakdown import Buffers
from localllm_magics.engines.planner.estimate import REPACKED

_LAYER = re.compile(r"layer +(\d+) assigned to device (\S+?),")
_CACHE = re.compile(r"layer +\d+: dev = (\S+)|: size = *([\d.]+) MiB \(.*\b([KR]) \(")
_COMPUTE = re.compile(r"(\S+) +compute buffer size = *([\d.]+) MiB")
_OUTPUT_BUFFER = re.compile(r"output buffer size = *([\d.]+) MiB")
_STATE = re.compile(r"(\S+) +RS buffer size = *([\d.]+) MiB")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_PART = re.compile(r"-00001-of-(\d{5})\.gguf$")
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    name: str
    type: str
    size: int


def log_breakdown(lib: Library, path: Path, settings: PlanSettings, model_log: str, context_log: str) -> list[Buffers]:
    """The buffers of a context.

    Args:
        lib: The build.
        path: The file; of a split model, the first part.
        settings: Those of the load.
        model_log: What was logged for the model.
        context_log: What was logged for the context.
    """
    gpus = {key: gpu.name for gpu in lib.devices() if gpu.is_gpu for key in (gpu.name, gpu.buffers)}
    weights = list(_weights([tensor for part in _parts(path) for tensor in _tensors(lib, part)], settings, model_log))
    caches = [Buffers(device=_gpu(device), kv_cache=size) for device, size in _caches(context_log)]
    states = [Buffers(device=gpus.get(name, ""), kv_cache=_bytes(size)) for name, size in _STATE.findall(context_log)]
    compute = [Buffers(device=gpus.get(name, ""), compute=_bytes(size)) for name, size in _COMPUTE.findall(context_log)]
    return [*weights, *caches, *states, *compute]


def output_buffer(context_log: str) -> Buffers:
    """What is missing in both breakdowns: room for the numbers that a context gives out."""
    return Buffers(device="", compute=sum(map(_bytes, _OUTPUT_BUFFER.findall(context_log))))


def _weights(tensors: Sequence[_Tensor], settings: PlanSettings, log: str) -> Iterator[Buffers]:
    layers = {int(layer): _gpu(device) for layer, device in _LAYER.findall(log)}
    for tensor in tensors:
        moved = _override(tensor.name, settings)
        device = _usual_device(tensor.name, layers) if moved is None else _gpu(moved)
        yield _buffers(tensor, device, settings)
    by_name = {tensor.name: tensor for tensor in tensors}
    if _OUTPUT not in by_name and _EMBEDDING in by_name:
        copy = _buffers(by_name[_EMBEDDING], layers[max(layers)], settings, is_copy=True)
        yield from [copy] if copy.device or not copy.is_plain else []


def _override(tensor: str, settings: PlanSettings) -> str | None:
    found = (device for pattern, device in override_patterns(settings) if re.search(pattern, tensor))
    return next(found, None)


def _usual_device(tensor: str, layers: Mapping[int, str]) -> str:
    block = _BLOCK.match(tensor)
    if block:
        return layers[int(block[1])]
    return layers[max(layers)] if tensor.startswith("output") else ""


def _buffers(tensor: _Tensor, device: str, settings: PlanSettings, *, is_copy: bool = False) -> Buffers:
    can_repack = settings.repack and not device and tensor.type.upper() in REPACKED
    is_plain = not can_repack or (tensor.name == _EMBEDDING and not is_copy)
    return Buffers(device=device, weights=tensor.size, is_plain=is_plain)


def _caches(log: str) -> Iterator[tuple[str, int]]:
    """The device and the size of the cache of each layer; some models have several caches, and some have states."""
    devices: list[str] = []
    for device, size, kind in _CACHE.findall(log):
        if device:
            devices.append(device)
            continue
        if kind == "K":
            yield from ((device, _bytes(size) // len(devices)) for device in devices)
        devices = []


def _gpu(device: str) -> str:
    return "" if device == HOST else device


def _bytes(mebibytes: str) -> int:
    return int(float(mebibytes) * 2**20)


def _parts(path: Path) -> list[Path]:
    """The files of a split model, of which PATH is the first."""
    match = _PART.search(path.name)
    count = int(match[1]) if match else 1
    start = path.name[: match.start()] if match else ""
    return [path, *(path.with_name(f"{start}-{part:05}-of-{count:05}.gguf") for part in range(2, count + 1))]


class _InitParams(ctypes.Structure):
    """`gguf_init_params` of gguf.h."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def _tensors(lib: Library, path: Path) -> Iterator[_Tensor]:
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64
    name = lib.function("gguf_get_tensor_name", text, pointer, number)
    kind = lib.function("gguf_get_tensor_type", ctypes.c_int, pointer, number)
    size = lib.function("gguf_get_tensor_size", ctypes.c_size_t, pointer, number)
    type_name = lib.function("ggml_type_name", text, ctypes.c_int)
    file = lib.function("gguf_init_from_file", pointer, text, _InitParams)(
        os.fsencode(path), _InitParams(no_alloc=True)
    )
    for index in range(lib.function("gguf_get_n_tensors", number, pointer)(file)):
        yield _Tensor(
            name=name(file, index).decode("utf-8", "replace"),
            type=type_name(kind(file, index)).decode(),
            size=size(file, index),
        )
    lib.function("gguf_free", None, pointer)(file)
