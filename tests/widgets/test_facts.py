import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.catalog.judgement import judge
from localllm_magics.core.errors import EngineNotInstalled
from localllm_magics.core.memory_plan import MachineMemory
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, TypeSpeed
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.eviction import Limits
from localllm_magics.session import Session
from localllm_magics.widgets.facts import Facts
from tests.engines.planner.shapes import DENSE, GB, machine

SPEED = TypeSpeed(**dict.fromkeys((field.name for field in fields(TypeSpeed)), 1.0))
RATES = dict.fromkeys((field.name for field in fields(DeviceSpeed) if field.name != "types"), 1.0)
CALIBRATION = Calibration(cpu=DeviceSpeed(types={"Q8_0": SPEED, "F32": SPEED}, **RATES))


@pytest.fixture
def facts(new_session: Session, folder: Path) -> Facts:
    shutil.copy(demo.PATH, folder / "broken.gguf")
    with (folder / "broken.gguf").open("r+b") as file:
        file.truncate(100_000)
    return Facts(new_session)


def listed(facts: Facts, reference: str) -> ModelInfo:
    return next(info for info in facts.models() if info.reference == reference)


def test_models_have_their_fit(facts: Facts) -> None:
    fit = listed(facts, "mine.gguf").fit

    assert fit is not None
    assert (fit.verdict, fit.context) == ("cpu", 1024)
    assert 3_000_000 < fit.needed_bytes < fit.free_bytes
    assert listed(facts, "broken.gguf").problem is not None


def test_a_plan_of_the_engine_is_near_that_of_the_header(facts: Facts) -> None:
    info = listed(facts, "mine.gguf")
    options = [LoadOptions(), LoadOptions(ctx=512, kv_type="q8_0")]
    estimated = facts.plans(info, options, Stop(), is_exact=False)
    exact = facts.plans(info, options, Stop(), is_exact=True)

    assert [plan.is_exact for plan in (*estimated, *exact)] == [False, False, True, True]
    assert [plan.settings.context for plan in exact] == [1024, 512]
    assert [plan.needed for plan in estimated] == pytest.approx([plan.needed for plan in exact], rel=0.03)


def test_what_does_not_fit_is_planned_too(facts: Facts) -> None:
    info = listed(facts, "mine.gguf")
    assert info.shape is not None
    huge = replace(info.shape, order=info.shape.order * 100_000)
    (plan,) = facts.plans(replace(info, shape=huge), [LoadOptions()], Stop(), is_exact=False)

    assert plan.needed > plan.uses[0].memory.free


def test_models_of_servers_have_no_exact_plan(facts: Facts) -> None:
    info = ModelInfo(reference="ollama:x", name="x", source="daemon", engine="ollama")

    assert facts.plans(info, [LoadOptions()], Stop(), is_exact=True) == []


def test_before_the_machine_was_measured_there_is_no_forecast(
    facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    info = listed(facts, "mine.gguf")
    (plan,) = facts.plans(info, [LoadOptions()], Stop(), is_exact=False)

    assert facts.forecast(info, plan.settings) is None


def test_with_a_machine_that_was_measured_there_are_forecasts(
    facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    SpeedStore().put(speed_key(library()), CALIBRATION)
    info = listed(facts, "mine.gguf")
    facts.measure([info], Stop(), lambda _: None)
    (plan,) = facts.plans(info, [LoadOptions()], Stop(), is_exact=False)
    forecast = facts.forecast(info, plan.settings)

    assert info.forecast == forecast
    assert forecast is not None
    assert forecast.tokens_per_second > 0
    assert facts.forecast(info, replace(plan.settings, context=10**9)) is None


def test_without_the_engine_there_are_estimates(new_session: Session, folder: Path) -> None:
    facts = Facts(new_session, missing)
    info = listed(facts, "mine.gguf")

    assert facts.machine().devices == ()
    (plan,) = facts.plans(info, [LoadOptions()], Stop(), is_exact=False)
    assert facts.plans(info, [LoadOptions()], Stop(), is_exact=True) == []
    assert facts.forecast(info, plan.settings) is None


class BesideGpu(Facts):
    """Facts of a machine with a GPU of 2 GB."""

    def machine(self) -> MachineMemory:
        return machine(16 * GB, 2 * GB)


def test_a_plan_has_the_layers_on_gpus_that_the_list_promises(new_session: Session) -> None:
    facts = BesideGpu(new_session)
    info = ModelInfo(
        reference="x", name="x", source="folder", size_bytes=2 * GB, layers=10, context=200_000_000, shape=DENSE
    )
    options = [LoadOptions(ctx=4096), LoadOptions(ctx=100_000_000)]
    (judged,) = judge([replace(info, context=4096)], facts.machine())

    fitting, huge = facts.plans(info, options, Stop(), is_exact=False)

    assert judged.fit is not None
    assert fitting.settings.gpu_layers == judged.fit.max_gpu_layers == 7
    assert huge.settings.gpu_layers == 0


def missing() -> Library:
    raise EngineNotInstalled("llama-cpp-python is not installed.")


def test_a_memory_limit_holds_in_the_picker_as_in_the_list(facts: Facts, new_session: Session) -> None:
    new_session.residency.limits = Limits(memory_bytes=5_000_000)
    info, host = listed(facts, "mine.gguf"), facts.machine().host

    assert info.fit is not None
    assert (info.fit.verdict, info.fit.free_bytes) == ("too big", 5_000_000)
    assert (host.free, host.limit) == (5_000_000, "the memory limit is 5.0 MB")
