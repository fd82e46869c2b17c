"""Which models fit into the memory that is free now, and how fast they will be."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from localllm_magics.catalog.model_list import HOW_TO_FORECAST
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.memory_plan import Fit, Forecast, MachineMemory, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibrate import calibrate_for
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.forecast import forecast
from localllm_magics.engines.forecast.in_words import slow_build_note
from localllm_magics.engines.forecast.stored import SpeedStore, stored_calibration
from localllm_magics.engines.kernel.build_files import may_have_devices
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.machine import cpu_name
from localllm_magics.engines.kernel.machine_memory import host_memory, machine_memory
from localllm_magics.engines.kernel.plan import has_room, require_room_for_library, wanted_settings
from localllm_magics.engines.planner.fit import fit

BUSY = (
    "Other programs kept this machine busy when it was measured, so that the forecasts are too low. To measure it "
    "again, type: %llm models --forecast"
)
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
    limit: int | None = None,
) -> list[ModelInfo]:
    """MODELS with their fits and forecasts, as they are loaded without options.

    Args:
        models: Those whose sizes are not known stay as they are.
        machine: The memory that is free.
        to_fit: Places a model.
        to_forecast: Tells its rates.
        repack: Whether the build repacks weights for the CPU.
        limit: Bytes that all models may take together; None for what is free.
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
            if not has_room(info, machine, settings_placed):
                placed = replace(placed, verdict="too big")
            placed = _within(placed, limit)
            is_too_big = placed.verdict == "too big"
            known[shape, settings] = placed, None if is_too_big else to_forecast(shape, settings_placed)
        fits, forecast = known[shape, settings]
        return replace(info, fit=fits, forecast=forecast)

    return [judged(info) for info in models]


def judge_now(models: Iterable[ModelInfo], limit: int | None = None) -> list[ModelInfo]:
    """MODELS with their fits into the memory of this machine as it is now, and forecasts if it was measured.

    Args:
        models: See `judge`.
        limit: See `judge`.
    """
    lib = _library() if may_have_devices() or not SpeedStore().is_empty else None
    calibration = None if lib is None else stored_calibration(lib)
    if calibration is None:
        return judge(models, machine_memory(lib), limit=limit)
    return judge(models, machine_memory(lib), to_forecast=partial(_forecast, calibration), limit=limit)


def measure(models: Iterable[ModelInfo], stop: Stop, progress: Callable[[float], None]) -> None:
    """Measure this machine, as far as it was not, for forecasts of MODELS: a few seconds.

    Raises:
        LocalLLMError: It cannot be measured.
        Stopped: STOP was set.
    """
    shapes = [info.shape for info in models if info.shape is not None and info.problem is None]
    calibrate_for(library(), shapes, stop, progress)


def speed_notes(models: Sequence[ModelInfo]) -> list[str]:
    """What there is to say of the forecasts of MODELS: how to get them, or that the build is a slow one."""
    if not any(info.forecast for info in models):
        return [HOW_TO_FORECAST]
    calibration = stored_calibration(library())
    busy = BUSY if calibration is not None and calibration.is_noisy else ""
    return list(filter(None, [busy, slow_build_note(library().system_info, cpu_name())]))


def _within(fits: Fit, limit: int | None) -> Fit:
    """FITS where all models may take no more than LIMIT together; those that are there may leave."""
    if limit is None or fits.needed_bytes <= limit:
        return fits
    return replace(fits, verdict="too big", free_bytes=min(fits.free_bytes, limit))


def _forecast(calibration: Calibration, shape: ModelShape, settings: PlanSettings) -> Forecast | None:
    return forecast(shape, settings, calibration)


def _library() -> Library | None:
    """The installed build; None where it cannot be used."""
    try:
        require_room_for_library("The list of models", host_memory())
        return library()
    except LocalLLMError:
        return None
