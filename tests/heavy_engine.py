"""An engine whose model takes memory, of a machine that has so much of it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from localllm_magics.core.events import Loading
from localllm_magics.core.memory_plan import HOST, DeviceMemory, DeviceUse, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import EngineStatus, MakeRoom
from localllm_magics.model import Model
from localllm_magics.residency import Residency
from localllm_magics.testing import ScriptedEngine

MB = 1_000_000


@dataclass(slots=True)
class Machine:
    """Memory that engines share, in megabytes."""

    free: int
    loaded: list["HeavyEngine"] = field(default_factory=list)

    def plan(self, megabytes: int) -> MemoryPlan:
        """What a model of so many megabytes needs, of what is free now."""
        free = self.free - sum(engine.megabytes for engine in self.loaded)
        host = DeviceMemory(name=HOST, free=free * MB, total=self.free * MB, is_host=True)
        return MemoryPlan(settings=PlanSettings(context=1024), uses=(DeviceUse(memory=host, weights=megabytes * MB),))


class HeavyEngine(ScriptedEngine):
    """Takes MEGABYTES of MACHINE while it is loaded; says "Hi."."""

    def __init__(
        self, reference: str, megabytes: int, machine: Machine, make_room: MakeRoom, hangs_after: int | None = None
    ) -> None:
        super().__init__("Hi there.", reference=reference, hangs_after=hangs_after)
        self.megabytes = megabytes
        self._arguments = (reference, megabytes, machine, make_room, hangs_after)
        self._machine = machine
        self._make_room = make_room
        self._turn = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        return self in self._machine.loaded

    def status(self, *, refresh: bool = False) -> EngineStatus:
        status = super().status(refresh=refresh)
        if self.is_loaded:
            return replace(status, memory_bytes=self.megabytes * MB)
        return replace(status, model=replace(status.model, device=None, context=None))

    def load(self, stop: Stop) -> Iterator[Loading]:
        with self._turn:
            if not self.is_loaded:
                self._make_room(lambda: self._machine.plan(self.megabytes), bool(self._options.force))
                self._machine.loaded.append(self)
        yield Loading(1.0)

    def with_options(self, options: LoadOptions) -> "HeavyEngine":
        engine = HeavyEngine(*self._arguments)
        engine._options = options
        return engine

    def close(self) -> None:
        super().close()
        if self.is_loaded:
            self._machine.loaded.remove(self)


class Heavies:
    """Models of one residency, and a clock that goes on by a second each time that one is made or loaded.

    Args:
        free: Megabytes of the machine.
    """

    def __init__(self, free: int = 1000) -> None:
        self.now = 0.0
        self.models: list[Model] = []
        self.times_told = 0
        self.machine = Machine(free)
        self.residency = Residency(lambda: self.models, self._count, self.clock)

    def clock(self) -> float:
        return self.now

    def new(self, reference: str, megabytes: int, hangs_after: int | None = None) -> Model:
        """A model that is not loaded yet."""

        def make_room(plan: Callable[[], MemoryPlan], is_forced: bool) -> None:
            self.residency.make_room(model, plan, is_forced=is_forced)

        engine = HeavyEngine(reference, megabytes, self.machine, make_room, hangs_after)
        model = Model(engine, ModelInfo(reference=reference, name=reference, source="bundled"), self.clock)
        self.models.append(model)
        return model

    def loaded(self, reference: str, megabytes: int, hangs_after: int | None = None) -> Model:
        """A model that is loaded, later than those before it."""
        model = self.new(reference, megabytes, hangs_after)
        self.now += 1
        model.load()
        return model

    @property
    def in_memory(self) -> str:
        """The names of those that are in memory."""
        return " ".join(model.info.reference for model in self.models if model.is_loaded)

    def _count(self) -> None:
        self.times_told += 1
