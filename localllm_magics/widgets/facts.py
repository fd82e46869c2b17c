"""What the picker shows of models and of this machine."""

from collections.abc import Callable, Iterable, Sequence

from localllm_magics.catalog.judgement import measure
from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.errors import NotEnoughMemory, SetupError
from localllm_magics.core.memory_plan import Forecast, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.forecast import forecast
from localllm_magics.engines.forecast.stored import stored_calibration
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.machine_memory import machine_memory, within_limit
from localllm_magics.engines.kernel.plan import has_room, load_settings, placed_settings, plans_of
from localllm_magics.engines.kernel.worker.planner import exact_plans
from localllm_magics.session import Session


class Facts:
    """The models that there are, what they need, and how fast they will be; for any thread.

    Args:
        session: Whose models these are.
        find_library: What finds the installed build, or raises `SetupError`.
    """

    def __init__(self, session: Session, find_library: Callable[[], Library] = library) -> None:
        self._session = session
        self._find_library = find_library

    def models(self) -> ModelList:
        """All models, with what is known of them without the engine."""
        return self._session.list_models()

    def machine(self) -> MachineMemory:
        """What is free now, of what models may take."""
        return within_limit(machine_memory(self._library()), self._session.residency.limits.memory_bytes)

    def plans(self, info: ModelInfo, options: Sequence[LoadOptions], stop: Stop, *, is_exact: bool) -> list[MemoryPlan]:
        """The memory that INFO needs with each of OPTIONS; no plan where that cannot be told.

        Args:
            info: A file.
            options: What they leave out is as in a load.
            stop: Ends it.
            is_exact: Ask the engine, in a process of its own, which takes seconds, and not the header.

        Raises:
            LocalLLMError: The engine cannot read the file.
            Stopped: STOP was set.
        """
        machine, lib = self.machine(), self._library()
        settings = [_settings(info, each, machine) for each in options]
        if not is_exact:
            return list(map(plans_of(info, machine), settings))
        if lib is None or info.path is None:
            return []
        return exact_plans(lib, info.path, settings, stop)

    def forecast(self, info: ModelInfo, settings: PlanSettings) -> Forecast | None:
        """How fast INFO will be with SETTINGS; None where that does not fit, or this machine was not measured."""
        lib = self._library()
        calibration = None if lib is None else stored_calibration(lib)
        if info.shape is None or calibration is None or not has_room(info, self.machine(), settings):
            return None
        return forecast(info.shape, settings, calibration)

    def measure(self, models: Iterable[ModelInfo], stop: Stop, progress: Callable[[float], None]) -> None:
        """Measure the speed of this machine, as far as that was not done, for forecasts of MODELS.

        Raises:
            LocalLLMError: It cannot be measured.
            Stopped: STOP was set.
        """
        measure(models, stop, progress)

    def _library(self) -> Library | None:
        try:
            return self._find_library()
        except SetupError:
            return None


def _settings(info: ModelInfo, options: LoadOptions, machine: MachineMemory) -> PlanSettings:
    """How INFO would be loaded, or was to be loaded where it does not fit."""
    try:
        return load_settings(info, options, machine, repack=True)
    except NotEnoughMemory:
        return placed_settings(info, options, machine, repack=True)
