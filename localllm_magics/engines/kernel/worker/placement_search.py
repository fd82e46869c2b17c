"""Which layers and tensors go to the GPUs, as llama.cpp itself decides it; for a worker, as it calls C++ functions.

`common_fit_params` is in libllama-common, which builds of llama-cpp-python bring along and do not use. It is no public
interface, so it may be missing or have another name; then as many whole layers as fit are taken.
"""

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.engines.kernel.context import context_params
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.load_error import load_error
from localllm_magics.engines.kernel.tensor_overrides import TensorOverride

_NAME = (
    "_Z17common_fit_paramsPKcP18llama_model_paramsP20llama_context_paramsPfP32llama_model_tensor_buft_overridePmj"
    "PK22common_fit_extra_model14ggml_log_level"
)
_FITS, _ERROR = 0, 2  # enum common_params_fit_status in fit.h
_LOG_LEVEL = 4  # errors
_OFFLOADED = re.compile(r"offloaded \d+/(\d+) layers to GPU")


def fit_params(lib: Library, path: Path, settings: PlanSettings, margin: int) -> PlanSettings | None:
    """SETTINGS with llama.cpp's placement; None where its library does not have that, or finds none.

    Args:
        lib: The build.
        path: The file.
        settings: Without a placement.
        margin: Bytes that stay free on each device.

    Raises:
        LocalLLMError: llama.cpp refuses the file.
    """
    fit = _fit_function(lib)
    if fit is None:
        return None
    api = lib.api
    devices = int(api.llama_max_devices())
    model, context = api.llama_model_default_params(), context_params(lib, settings, threads=1)
    split = (ctypes.c_float * devices)()
    overrides = (TensorOverride * lib.function("llama_max_tensor_buft_overrides", ctypes.c_size_t)())()
    margins = (ctypes.c_size_t * devices)(*([margin] * devices))
    pointers = [*map(ctypes.addressof, (model, context, split, overrides, margins)), settings.context, None, _LOG_LEVEL]
    with lib.log.collecting() as logged:
        status = fit(bytes(path), *pointers)
    if status == _ERROR:
        raise load_error(path, settings, logged)
    if status != _FITS:
        return None
    everything = int(_OFFLOADED.findall(logged.text)[-1])
    # Behind the first empty one are those of placements that were tried before.
    patterns = [_text(lib, override) for override in takewhile(lambda one: one.pattern, overrides)]
    output_layer = rf"blk\.{everything - 1}\."  # it has none of these tensors
    return replace(
        settings,
        gpu_layers=everything if model.n_gpu_layers < 0 else model.n_gpu_layers,
        overrides=tuple(pattern for pattern in patterns if not pattern.startswith(output_layer)),
        split=tuple(int(layers) for layers in split if layers),
    )


def most_layers(everything: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to EVERYTHING that FITS, which holds for all smaller ones too; 0 need not be tried."""
    low, high = 0, everything
    while low < high:
        middle = high if low == 0 and high == everything else (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _fit_function(lib: Library) -> Callable[..., int] | None:
    folders = (lib.path.parent, lib.path.parents[2] / "lib")
    files = [file for folder in folders for file in sorted(folder.glob("libllama-common.so.*"))]
    for file in files:
        try:
            common = ctypes.CDLL(str(file))
            number, pointer = ctypes.c_int, ctypes.c_void_p
            kind = ctypes.CFUNCTYPE(number, ctypes.c_char_p, *[pointer] * 5, ctypes.c_uint32, pointer, number)
            return kind((_NAME, common))
        except (OSError, AttributeError):
            continue
    return None


def _text(lib: Library, override: TensorOverride) -> str:
    pattern, device = override.pattern.decode(), lib.buffer_device(override.buffer_type)
    return f"{pattern}={device}" if device else pattern
