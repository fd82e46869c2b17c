"""What the picker shows of models and of this machine."""

from collections.abc import Sequence

from localllm_magics.catalog.discover import ModelList
from localllm_magics.core.memory_plan import Forecast, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.session import Session


class Facts:
    """The models that there are, what they need, and how fast they will be.

    Args:
        session: Whose models these are.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def models(self) -> ModelList:
        """All models, with what is known of them without the engine."""
        return self._session.list_models()

    def machine(self) -> MachineMemory | None:
        """What is free now; None where that cannot be told."""
        return None

    def plans(self, info: ModelInfo, options: Sequence[LoadOptions], stop: Stop, *, is_exact: bool) -> list[MemoryPlan]:
        """The memory that INFO needs with each of OPTIONS; no plan where that cannot be told.

        Args:
            is_exact: Ask the engine, in a process of its own, which takes seconds, and not the header.

        Raises:
            LocalLLMError: The engine cannot read the file.
            Stopped: STOP was set.
        """
        return []

    def forecast(self, info: ModelInfo, settings: PlanSettings) -> Forecast | None:
        """How fast INFO will be with SETTINGS; None where this machine was not measured."""
        return None
