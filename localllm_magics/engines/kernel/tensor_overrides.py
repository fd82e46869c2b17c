"""Tensors that stay on the CPU, or go to another device, although their layer is on a GPU."""

import ctypes

from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.planner.fit import EXPERTS


class TensorOverride(ctypes.Structure):
    """`llama_model_tensor_buft_override` of llama.h, which llama-cpp-python does not declare."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def tensor_overrides(lib: Library, settings: PlanSettings) -> "ctypes.Array[TensorOverride]":
    """Those of SETTINGS as llama.cpp takes them, the last one empty; they must outlive the load."""
    patterns = override_patterns(settings)
    array = (TensorOverride * (len(patterns) + 1))()
    for entry, (pattern, device) in zip(array, patterns, strict=False):
        entry.pattern, entry.buffer_type = pattern.encode(), lib.buffer_type(device)
    return array


def override_patterns(settings: PlanSettings) -> list[tuple[str, str]]:
    """The pattern of each, and the name of the device that its tensors go to."""
    parts = (text.partition("=") for text in (*_experts(settings.cpu_moe), *settings.overrides))
    return [(pattern, device or HOST) for pattern, _, device in parts]


def _experts(layers: int) -> list[str]:
    """The pattern of the expert tensors of the first LAYERS; one for all of them, as each is tried with each tensor."""
    if not layers:
        return []
    numbers = r"\d+" if layers >= ALL_LAYERS else f"({'|'.join(map(str, range(layers)))})"
    return [rf"blk\.{numbers}\.{EXPERTS}"]
