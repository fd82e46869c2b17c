from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog import judgement
from localllm_magics.catalog.discover import bundled_model
from localllm_magics.catalog.judgement import BUSY, judge, judge_now, measure, speed_notes
from localllm_magics.catalog.model_list import HOW_TO_FORECAST
from localllm_magics.core.errors import EngineNotInstalled
from localllm_magics.core.memory_plan import HOST, DeviceMemory, Fit, Forecast, MachineMemory, PlanSettings
from localllm_magics.core.model_info import ModelDefaults, ModelInfo
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.in_words import slow_build_note
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.machine import cpu_name
from localllm_magics.engines.kernel.plan import RESERVE, has_room, plans_of, wanted_settings
from tests.catalog.speeds import speed

MACHINE = MachineMemory(host=DeviceMemory(name=HOST, free=10**9, total=10**9, is_host=True))
SPEED = Forecast(tokens_per_second=10, prompt_tokens_per_second=100)


def test_a_model_is_judged_as_it_is_loaded_without_options() -> None:
    (info,) = judge([bundled_model()], MACHINE)

    assert info.fit is not None
    assert (info.fit.verdict, info.fit.context, info.fit.free_bytes) == ("cpu", 1024, 10**9)
    assert info.forecast is None


@pytest.mark.parametrize("free", [0, 1000])
def test_without_memory_everything_is_too_big(free: int) -> None:
    machine = replace(MACHINE, host=replace(MACHINE.host, free=free))

    (info,) = judge([bundled_model()], machine)

    assert info.fit is not None
    assert info.fit.verdict == "too big"


@pytest.mark.parametrize(
    ("spare", "limit", "verdict"),
    [
        pytest.param(1, None, "cpu", id="all of it"),
        pytest.param(-1, None, "too big", id="a byte less than the load takes"),
        pytest.param(1, 0, "cpu", id="as much as the limit allows"),
        pytest.param(1, -1, "too big", id="a byte more than the limit"),
    ],
)
def test_what_fits_is_not_refused_and_what_is_too_big_has_no_forecast(
    spare: int, limit: int | None, verdict: str
) -> None:
    info = bundled_model()
    settings = wanted_settings(info, LoadOptions(), MACHINE, repack=True)
    needed = plans_of(info, MACHINE)(settings).needed
    machine = replace(MACHINE, host=replace(MACHINE.host, free=int(1.02 * needed) + RESERVE + spare))

    (judged,) = judge([info], machine, to_forecast=lambda *_: SPEED, limit=None if limit is None else needed + limit)

    assert judged.fit is not None
    assert (judged.fit.verdict, judged.forecast) == (verdict, SPEED if verdict == "cpu" else None)
    assert has_room(info, machine, settings) == (spare > 0)


def test_a_forecast_is_for_the_placement_of_the_fit() -> None:
    asked: list[PlanSettings] = []

    def to_fit(_shape: ModelShape, _machine: MachineMemory, _settings: PlanSettings) -> Fit:
        return Fit(verdict="partial", needed_bytes=1, free_bytes=2, max_gpu_layers=3, overrides=("a",))

    def to_forecast(_shape: ModelShape, settings: PlanSettings) -> Forecast:
        asked.append(settings)
        return SPEED

    (info,) = judge([bundled_model()], MACHINE, to_fit=to_fit, to_forecast=to_forecast)

    assert info.forecast == SPEED
    assert [(settings.gpu_layers, settings.overrides) for settings in asked] == [(3, ("a",))]


def test_models_that_are_alike_are_judged_once() -> None:
    count = 0

    def to_fit(_shape: ModelShape, _machine: MachineMemory, settings: PlanSettings) -> Fit:
        nonlocal count
        count += 1
        return Fit(verdict="cpu", needed_bytes=settings.context, free_bytes=2)

    one = bundled_model()
    other = replace(one, reference="other", defaults=ModelDefaults(ctx=64))
    judged = judge([one, replace(one, reference="same"), other], MACHINE, to_fit=to_fit)

    assert [info.fit.needed_bytes for info in judged if info.fit] == [1024, 1024, 64]
    assert [info.reference for info in judged] == ["demo", "same", "other"]
    assert count == 2


@pytest.mark.parametrize(
    "info",
    [
        pytest.param(ModelInfo(reference="x", name="x", source="daemon"), id="of a server"),
        pytest.param(replace(bundled_model(), problem="It is cut off."), id="with a problem"),
    ],
)
def test_what_cannot_be_judged_stays_as_it_is(info: ModelInfo) -> None:
    assert judge([info], MACHINE)[0] is info


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which no machine was measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_machine_that_was_measured_gives_forecasts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SpeedStore().put(speed_key(library()), speed("F16", "Q8_0"))

    (info,) = judge_now([bundled_model()])

    assert info.forecast is not None
    assert info.forecast.tokens_per_second > 0


def test_what_was_measured_is_not_measured_again(cache: Path) -> None:
    SpeedStore().put(speed_key(library()), speed("Q8_0", "F16"))
    parts: list[float] = []

    measure([bundled_model(), ModelInfo(reference="x", name="x", source="daemon")], Stop(), parts.append)

    assert parts == []


def test_the_notes_say_how_to_get_forecasts_where_there_are_none() -> None:
    assert speed_notes([bundled_model()]) == [HOW_TO_FORECAST]


def test_the_notes_say_whether_the_build_is_a_slow_one() -> None:
    slow = slow_build_note(library().system_info, cpu_name())

    assert speed_notes([replace(bundled_model(), forecast=SPEED)]) == ([slow] if slow else [])


def test_the_notes_say_that_the_machine_was_busy(cache: Path) -> None:
    lib = library()
    SpeedStore().put(speed_key(lib), replace(speed("Q8_0"), noise=2.0))

    assert speed_notes([replace(bundled_model(), forecast=SPEED)])[0] == BUSY


@pytest.mark.parametrize("has_devices", [False, True])
def test_models_are_judged_by_the_memory_that_is_free_now(
    has_devices: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "may_have_devices", lambda: has_devices)

    (info,) = judge_now([bundled_model()])

    assert info.fit is not None
    assert (info.fit.verdict, info.forecast) == ("cpu", None)


def test_a_build_that_cannot_be_imported_has_no_devices(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Library:
        raise EngineNotInstalled("It does not load.")

    monkeypatch.setattr(judgement, "may_have_devices", lambda: True)
    monkeypatch.setattr(judgement, "library", refuse)

    assert judge_now([bundled_model()])[0].fit is not None
