from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.core.memory_plan import Compared, PlanSettings
from localllm_magics.core.model_shape import LayerShape
from localllm_magics.engines.forecast.answers import Measured, learn_from
from localllm_magics.engines.forecast.forecast import forecast
from localllm_magics.engines.forecast.stored import SpeedStore
from tests.engines.forecast.speeds_of import CPU, DENSE, model

ONE, SHAPE, MACHINE = PlanSettings(context=1024), model(DENSE, output=0), "a machine"
FORECAST = 50.0
ANSWER = Measured(cached=0, prompt=512, prompt_seconds=0.512 / 1.5, tokens=20, decode_seconds=20 / 60)


def rates(compared: Compared | None) -> tuple[float, float]:
    assert compared is not None
    return compared.forecast, compared.measured


@pytest.fixture
def store(tmp_path: Path) -> SpeedStore:
    store = SpeedStore(tmp_path / "speed.json")
    store.put(MACHINE, CPU)
    return store


def test_an_answer_is_compared_and_makes_the_next_forecast_better(store: SpeedStore) -> None:
    first = learn_from(ANSWER, SHAPE, ONE, MACHINE, store)
    second = learn_from(ANSWER, SHAPE, ONE, MACHINE, store)

    assert [rates(first), rates(second)] == [pytest.approx((FORECAST, 60.0)), pytest.approx((60.0, 60.0))]
    known = store.get(MACHINE)
    assert known is not None
    found = forecast(SHAPE, ONE, known)
    assert found is not None
    assert found.prompt_tokens_per_second == pytest.approx(1500)


@pytest.mark.parametrize(
    "short",
    [
        pytest.param(replace(ANSWER, tokens=15, prompt=255), id="few tokens"),
        pytest.param(replace(ANSWER, tokens=15, prompt=0, cached=512), id="a cached prompt"),
        pytest.param(replace(ANSWER, decode_seconds=0.0, prompt_seconds=0.0), id="no time"),
    ],
)
def test_an_answer_that_is_too_short_teaches_nothing(store: SpeedStore, short: Measured) -> None:
    assert learn_from(short, SHAPE, ONE, MACHINE, store) is None
    assert store.get(MACHINE) == CPU


def test_a_machine_that_was_not_measured_is_not_compared(store: SpeedStore) -> None:
    assert learn_from(ANSWER, SHAPE, ONE, "another machine", store) is None


def test_a_type_that_was_not_measured_is_not_compared(store: SpeedStore) -> None:
    shape = model(LayerShape(attention=(("IQ1_S", 100),)))

    assert learn_from(ANSWER, shape, ONE, MACHINE, store) is None
