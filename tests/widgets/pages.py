"""A page and facts for tests: what a picker would show, kept."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.memory_plan import (
    DeviceMemory,
    DeviceUse,
    Forecast,
    MachineMemory,
    MemoryPlan,
    PlanSettings,
)
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.session import Session
from localllm_magics.widgets.commands import Commands
from localllm_magics.widgets.facts import Facts
from localllm_magics.widgets.protocol import Answer, Options, Status

HOST = DeviceMemory(name="CPU", free=8_000_000_000, total=16_000_000_000, is_host=True)
GPU = DeviceMemory(name="CUDA0", free=4_000_000_000, total=8_000_000_000)
OPTIONS = Options(context=None, gpu_layers=None, cpu_moe=None, kv_type=None)
SECONDS = 60.0


class ScriptedFacts(Facts):
    """Facts without an engine: models as given, and the same plan for all."""

    def __init__(self, *listed: ModelInfo) -> None:
        super().__init__(Session())
        self.listed = list(listed)
        self.scans = 0
        self.waits = threading.Event()
        self.waits.set()
        self.error: Exception | None = None
        self.measured: Exception | None = None
        self.measures = threading.Event()
        self.measures.set()

    def models(self) -> ModelList:
        self.scans += 1
        self.waits.wait(SECONDS)
        return ModelList(self.listed)

    def machine(self) -> MachineMemory:
        return MachineMemory(host=HOST, devices=(GPU,))

    def plans(self, info: ModelInfo, options: Sequence[LoadOptions], stop: Stop, *, is_exact: bool) -> list[MemoryPlan]:
        if self.error is not None:
            raise self.error
        if is_exact:
            stop.sleep(SECONDS)
        settings = [
            PlanSettings(context=each.ctx or 4096, gpu_layers=3, kv_type=each.kv_type or "f16") for each in options
        ]
        uses = (DeviceUse(memory=HOST, weights=1, kv_cache=2, compute=3),)
        return [MemoryPlan(settings=each, uses=uses) for each in settings]

    def forecast(self, info: ModelInfo, settings: PlanSettings) -> Forecast | None:
        return Forecast(tokens_per_second=10.0, prompt_tokens_per_second=100.0)

    def measure(self, models: Iterable[ModelInfo], stop: Stop, progress: Callable[[float], None]) -> None:
        progress(0.5)
        self.measures.wait(SECONDS)
        if self.measured is not None:
            raise self.measured


class FakePage:
    """A page that keeps all that it is shown."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.models: list[ModelList] = []
        self.statuses: list[Status] = []
        self.chosen = ""
        self._news = threading.Condition()

    def answer(self, answer: Answer) -> None:
        with self._news:
            self.answers.append(answer)
            self._news.notify_all()

    def show_models(self, models: ModelList) -> None:
        with self._news:
            self.models.append(models)
            self._news.notify_all()

    def show_status(self, status: Status) -> None:
        with self._news:
            self.statuses.append(status)
            self._news.notify_all()

    def choose(self, reference: str) -> None:
        self.chosen = reference

    def wait(self, is_so: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(is_so, SECONDS)

    def end(self, id_: str) -> Any:  # noqa: ANN401 - a message
        """The answer that ended a command, once it has come; it was the only one after the first."""
        self.wait(lambda: any(a["id"] == id_ and a["kind"] != "accepted" for a in self.answers))
        first, *others = [answer for answer in self.answers if answer["id"] == id_]
        assert first["kind"] == "accepted"
        (last,) = others
        return last


def do(commands: Commands, page: FakePage, **command: object) -> Any:  # noqa: ANN401 - a message
    """Send a command; how it ended."""
    id_ = f"command {len(page.answers)}"
    commands.receive({"id": id_, **command})
    return page.end(id_)
