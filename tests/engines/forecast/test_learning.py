import math
from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.engines.forecast.learning import (
    Rate,
    Ratios,
    correction,
    learned,
    ratios_from_json,
    to_corrections,
)
from tests.engines.forecast.speeds_of import CPU, DENSE, MIXED, model

ONE = PlanSettings(context=1024)
SHAPE, OTHER = model(DENSE), model(DENSE, DENSE)


def taught(*ratios: float, rate: Rate = "decode") -> Ratios:
    found: Ratios = {}
    for ratio in ratios:
        found = learned(found, rate, SHAPE, ONE, ratio)
    return found


def factor(ratios: Ratios, shape: ModelShape = SHAPE, settings: PlanSettings = ONE, rate: Rate = "decode") -> float:
    return correction(rate, shape, settings, replace(CPU, corrections=to_corrections(ratios)))


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        pytest.param([], 1.0, id="no answer"),
        pytest.param([0.5], 1.0, id="a slow one is one on a busy machine"),
        pytest.param([0.5, 0.6], 1.0, id="and so are two"),
        pytest.param([0.8, 0.8, 0.8], 0.8, id="three are the truth"),
        pytest.param([1.2], 1.2, id="a fast one is true at once"),
        pytest.param([1.2, 0.6, 1.2, 0.5, 1.2], 1.2, id="slow ones between fast ones"),
        pytest.param([1.0, 1.0, 1.0, 1.0, 1.0, 1.9], 1.0, id="one that is far too fast"),
        pytest.param([0.9] * 8, 0.9, id="many"),
        pytest.param([0.6] * 8 + [1.1] * 8, 1.1, id="only the last ones count"),
        pytest.param([3.0], 2.0, id="not more than double"),
        pytest.param([0.3] * 8, 0.5, id="not less than half"),
        pytest.param([100.0], 1.0, id="what cannot be is left out"),
        pytest.param([math.nan, 0.0], 1.0, id="no numbers"),
    ],
)
def test_answers_correct_the_next_forecast(ratios: list[float], expected: float) -> None:
    assert factor(taught(*ratios)) == pytest.approx(expected)


def test_other_models_of_the_type_get_half_of_a_correction() -> None:
    assert factor(taught(1.44), OTHER) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("shape", "settings", "rate"),
    [
        pytest.param(OTHER, ONE, "prompt", id="another rate"),
        pytest.param(model(replace(MIXED, attention=(("F16", 10),), experts=())), ONE, "decode", id="another type"),
        pytest.param(OTHER, replace(ONE, gpu_layers=ALL_LAYERS), "decode", id="another device"),
        pytest.param(model(), ONE, "decode", id="no layers"),
    ],
)
def test_what_is_different_is_not_corrected(shape: ModelShape, settings: PlanSettings, rate: Rate) -> None:
    assert factor(taught(1.44), shape, settings, rate) == 1.0


def test_what_was_not_used_for_long_is_forgotten_first() -> None:
    ratios = taught(1.2)
    for width in range(600):
        ratios = learned(ratios, "decode", replace(SHAPE, width=width), ONE, 1.0)

    assert len(ratios) == 500
    assert factor(ratios) == 1.0


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        pytest.param({"a": [1.0, 2.0]}, {"a": (1.0, 2.0)}, id="ratios"),
        pytest.param({"a": [1.0] * 20}, {"a": (1.0,) * 8}, id="too many"),
        pytest.param(None, {}, id="nothing"),
        pytest.param({"a": 1, "b": [], "c": ["x"], "d": [-1.0], "e": [1e9], "f": [1.0]}, {"f": (1.0,)}, id="bad ones"),
    ],
)
def test_bad_ratios_are_left_out(stored: object, found: Ratios) -> None:
    assert ratios_from_json(stored) == found


SMALL = model(LayerShape(attention=(("Q4_0", 1_000_000),)))


def test_a_small_model_may_be_much_faster_than_memory_and_teaches_nothing_of_others() -> None:
    ratios = learned({}, "decode", SMALL, ONE, 6.0)

    assert len(ratios) == 1
    assert factor(ratios, SMALL) == pytest.approx(6.0)
    assert factor(ratios, SHAPE) == 1.0


def test_a_large_model_does_not_learn_from_what_is_much_too_slow() -> None:
    assert learned({}, "decode", SHAPE, ONE, 0.1) == {}
