"""The layers that go to GPUs where the user has not said how many."""

from contextlib import suppress
from dataclasses import replace

from localllm_magics.core.errors import EngineCrashed, SetupError
from localllm_magics.core.memory_plan import MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.planner import llama_placement
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.planner.fit import MARGIN

_SURE = 1.05  # an estimate is at most a few percent too low


def llama_places(
    lib: Library, info: ModelInfo, machine: MachineMemory, settings: PlanSettings, *, stop: Stop
) -> PlanSettings:
    """SETTINGS with llama.cpp's own placement; unchanged where it can say nothing.

    Args:
        lib: The build.
        info: The model.
        machine: What is free.
        settings: Those of the load.
        stop: Ends it.

    Raises:
        LocalLLMError: llama.cpp refuses the file.
        Stopped: STOP was set.
    """
    everything = replace(settings, gpu_layers=(info.layers or 0) + 1, overrides=())
    if info.shape is not None and not settings.cpu_moe and _fits_surely(estimate(info.shape, everything, machine)):
        return everything  # as llama.cpp would say, after a second
    if info.path is not None:
        with suppress(EngineCrashed, SetupError):
            return llama_placement(lib, info.path, settings, stop)
    return settings


def _fits_surely(plan: MemoryPlan) -> bool:
    """Whether all devices have room, with what llama.cpp leaves free."""
    return all(_SURE * use.needed + MARGIN <= use.memory.free for use in plan.uses[1:])
