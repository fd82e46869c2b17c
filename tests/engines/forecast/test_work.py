import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.work import layers, output
from tests.engines.forecast.speeds_of import BOTH, CPU, DENSE, MIXED, model

FOUR = model(DENSE, DENSE, DENSE, DENSE)
EXPERTS = model(MIXED, MIXED, MIXED, experts=8, used=2)


def settings(gpu_layers: int = 0, cpu_moe: int = 0, overrides: tuple[str, ...] = ()) -> PlanSettings:
    return PlanSettings(context=1024, gpu_layers=gpu_layers, cpu_moe=cpu_moe, overrides=overrides)


@pytest.mark.parametrize(
    ("calibration", "gpu_layers", "on_gpu", "is_output_on_gpu"),
    [
        pytest.param(CPU, 0, 0, False, id="no GPU"),
        pytest.param(CPU, 2, 0, False, id="layers for a GPU that is not there"),
        pytest.param(BOTH, 0, 0, False, id="none"),
        pytest.param(BOTH, 1, 0, True, id="the output first"),
        pytest.param(BOTH, 3, 2, True, id="some"),
        pytest.param(BOTH, ALL_LAYERS, 4, True, id="all"),
    ],
)
def test_the_last_layers_go_to_the_gpu(
    calibration: Calibration, gpu_layers: int, on_gpu: int, is_output_on_gpu: bool
) -> None:
    found = list(layers(FOUR, settings(gpu_layers), calibration))

    assert sum(layer.number for layer in found) == 4
    assert sum(layer.number for layer in found if layer.device is not calibration.cpu) == on_gpu
    assert (output(FOUR, settings(gpu_layers), calibration).device is not calibration.cpu) == is_output_on_gpu


def test_layers_that_are_alike_are_one_and_the_last_is_another() -> None:
    found = list(layers(FOUR, settings(), CPU))

    assert [(layer.number, layer.is_last) for layer in found] == [(3, False), (1, True)]


def test_a_token_needs_the_experts_that_are_used() -> None:
    first, _ = layers(EXPERTS, settings(), CPU)

    assert [(part.part, part.count, part.is_mixed) for part in first.others] == [(0.25, 6, True)]


def test_experts_that_stay_on_the_cpu_are_computed_there_and_come_back() -> None:
    found = list(layers(EXPERTS, settings(ALL_LAYERS, cpu_moe=1), BOTH))

    assert [(layer.number, layer.visits) for layer in found] == [(1, 1), (1, 0), (1, 0)]
    assert [part.device is BOTH.cpu for part in found[0].others] == [True]
    assert all(layer.device is BOTH.gpu for layer in found)


def test_a_part_of_a_layer_may_stay_on_the_cpu() -> None:
    found = list(layers(FOUR, settings(ALL_LAYERS, overrides=(r"blk\.0\.ffn_(up|gate)\.",)), BOTH))

    on_gpu, on_cpu = found[0].others
    assert (on_gpu.device, on_cpu.device) == (BOTH.gpu, BOTH.cpu)
    assert [on_gpu.part, on_cpu.part] == pytest.approx([1 / 3, 2 / 3])
    assert [layer.visits for layer in found] == [1, 0, 0]
