"""Which models fit into the memory that is free now, and how fast they will be."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.memory_plan import Fit, Forecast, MachineMemory, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.kernel.build_files import may_have_devices
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.machine_memory import host_memory, machine_memory
from localllm_magics.engines.kernel.plan import require_room_for_library, wanted_settings
from localllm_magics.engines.planner.fit import fit

ToFit: TypeAlias = Callable[[ModelShape, MachineMemory, PlanSettings], Fit]
ToForecast: TypeAlias = Callable[[ModelShape, PlanSettings], Forecast | None]


def no_forecast(_shape: ModelShape, _settings: PlanSettings) -> None:
    """The forecast of a machine that was not measured."""


def judge(
    models: Iterable[ModelInfo],
    machine: MachineMemory,
    *,
    to_fit: ToFit = fit,
    to_forecast: ToForecast = no_forecast,
    repack: bool = True,
) -> list[ModelInfo]:
    """MODELS with their fits and forecasts, as they are loaded without options.

    Args:
        models: Those whose sizes are not known stay as they are.
        machine: The memory that is free.
        to_fit: Places a model.
        to_forecast: Tells its rates.
        repack: Whether the build repacks weights for the CPU.
    """
    known: dict[tuple[ModelShape, PlanSettings], tuple[Fit, Forecast | None]] = {}

    def judged(info: ModelInfo) -> ModelInfo:
        shape = info.shape
        if shape is None or info.problem is not None:
            return info
        settings = wanted_settings(info, LoadOptions(), machine, repack=repack)
        # Models of one family differ in their weights alone.
        if (shape, settings) not in known:
            placed = to_fit(shape, machine, settings)
            settings_placed = replace(settings, gpu_layers=placed.max_gpu_layers, overrides=placed.overrides)
            known[shape, settings] = placed, to_forecast(shape, settings_placed)
        fits, forecast = known[shape, settings]
        return replace(info, fit=fits, forecast=forecast)

    return [judged(info) for info in models]


def judge_now(models: Iterable[ModelInfo]) -> list[ModelInfo]:
    """MODELS with their fits into the memory of this machine as it is now."""
    return judge(models, machine_memory(_library()))


def _library() -> Library | None:
    """The installed build, if it may have devices beside the CPU; None where it cannot be used either."""
    if not may_have_devices():
        return None
    try:
        require_room_for_library("The list of models", host_memory(), is_imported="llama_cpp" in sys.modules)
        return library()
    except LocalLLMError:
        return None
