"""Scripted engines that load in a way of their own."""

from collections.abc import Iterator
from dataclasses import replace

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.events import Loading
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import EngineStatus
from localllm_magics.model import Model
from localllm_magics.testing import ScriptedEngine


class Hanging(ScriptedEngine):
    """Loads a half, then waits for a stop."""

    def load(self, stop: Stop) -> Iterator[Loading]:
        yield Loading(0.0)
        yield Loading(0.5)
        yield Loading(0.501)
        stop.wait(None)
        stop.check()


class TooBig(ScriptedEngine):
    """Loads only when forced."""

    def load(self, stop: Stop) -> Iterator[Loading]:
        if not self.status().options.force:
            raise NotEnoughMemory("big needs 40 GB.", "Try --ctx 512.")
        yield Loading(1.0)

    def status(self, *, refresh: bool = False) -> EngineStatus:
        status = super().status()
        return replace(status, model=replace(status.model, device="script" if status.options.force else None))

    def with_options(self, options: LoadOptions) -> "TooBig":
        engine = TooBig(reference=self._reference)
        engine._options = options
        return engine


def model_of(engine: ScriptedEngine) -> Model:
    name = engine.status().model.reference
    return Model(engine, ModelInfo(reference=name, name=name, source="bundled", shape=None))
