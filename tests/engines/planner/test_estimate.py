from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import MachineMemory, PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.engines.planner.estimate import estimate
from tests.engines.planner.shapes import DENSE, EXPERTS, GB, LAYER, MB, machine

SETTINGS = PlanSettings(context=4096, repack=False)
BOTH = machine(16 * GB, 8 * GB)
TIED = replace(DENSE, is_tied=True)


def weights(shape: ModelShape, settings: PlanSettings, on: MachineMemory = BOTH) -> list[float]:
    """Of each device, in MB."""
    return [round(use.weights / MB) for use in estimate(shape, settings, on).uses]


@pytest.mark.parametrize(
    ("gpu_layers", "expected"),
    [
        pytest.param(0, [1300, 0], id="all on the host"),
        pytest.param(1, [1250, 50], id="the output on the device"),
        pytest.param(6, [650, 650], id="half of the layers"),
        pytest.param(11, [50, 1250], id="all layers: the embeddings stay"),
    ],
)
def test_weights_are_where_their_layers_are(gpu_layers: int, expected: list[int]) -> None:
    assert weights(DENSE, replace(SETTINGS, gpu_layers=gpu_layers)) == expected


def test_a_cache_is_where_its_layers_are() -> None:
    plan = estimate(DENSE, replace(SETTINGS, gpu_layers=4), BOTH)

    assert [use.kv_cache for use in plan.uses] == [7 * 4096 * 1024, 3 * 4096 * 1024]


def test_a_plan_has_its_settings_and_devices_and_is_no_exact_one() -> None:
    plan = estimate(DENSE, SETTINGS, BOTH)

    assert (plan.settings, plan.is_exact) == (SETTINGS, False)
    assert [use.memory for use in plan.uses] == [BOTH.host, *BOTH.devices]
    assert plan.needed == sum(use.weights + use.kv_cache + use.compute for use in plan.uses)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"gpu_layers": 11, "cpu_moe": 4}, [3650, 5750], id="experts of the first layers"),
        pytest.param({"gpu_layers": 0, "cpu_moe": 4}, [9400, 0], id="which are on the CPU anyway"),
        pytest.param({"gpu_layers": 11, "overrides": (r"blk\.0\.ffn_up.*",)}, [350, 9050], id="a matrix of one layer"),
        pytest.param(
            {"gpu_layers": 5, "overrides": (r"blk\.0\.ffn_.*_exps=CUDA0",)}, [4730, 4670], id="moved to the device"
        ),
        pytest.param(
            {"gpu_layers": 11, "overrides": (r"blk\.0\.ffn_.*_exps=CUDA7",)}, [950, 8450], id="to an unknown device"
        ),
    ],
)
def test_overrides_move_weights(settings: dict[str, object], expected: list[int]) -> None:
    assert weights(EXPERTS, replace(SETTINGS, **settings)) == expected  # type: ignore[arg-type] # of a table


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        pytest.param(TIED, {}, [1250, 0], id="the embeddings compute the output"),
        pytest.param(TIED, {"gpu_layers": 1}, [1250, 50], id="a device has a copy of them"),
        pytest.param(TIED, {"repack": True}, [1250, 0], id="a type that is not repacked"),
        pytest.param(
            replace(TIED, input=(("Q4_0", 50 * MB),), output=(("Q4_0", 50 * MB),)),
            {"repack": True},
            [1300, 0],
            id="a copy that is repacked",
        ),
        pytest.param(DENSE, {"map_file": True}, [1300, 0], id="a mapped file"),
        pytest.param(DENSE, {"map_file": True, "repack": True}, [2500, 0], id="mapped, and repacked beside it"),
        pytest.param(
            DENSE, {"map_file": True, "repack": True, "gpu_layers": 1}, [2450, 50], id="repacked without an output"
        ),
        pytest.param(TIED, {"map_file": True, "repack": True}, [2450, 0], id="mapped, with a tied output"),
        pytest.param(
            EXPERTS,
            {"map_file": True, "repack": True, "gpu_layers": 11, "cpu_moe": 1},
            [1850, 8450],
            id="mapped, with experts on the CPU",
        ),
    ],
)
def test_the_host_has_copies_of_weights(shape: ModelShape, settings: dict[str, object], expected: list[int]) -> None:
    assert weights(shape, replace(SETTINGS, **settings)) == expected  # type: ignore[arg-type] # of a table


def test_layers_that_differ_count_each() -> None:
    small = replace(LAYER, attention=(), feed_forward=(("Q4_0", 10 * MB),))
    shape = replace(DENSE, kinds=(LAYER, small), order=(0, 1, 1))

    assert weights(shape, replace(SETTINGS, gpu_layers=2)) == [180, 60]


def test_a_device_over_a_network_computes_nothing_with_weights_of_the_host() -> None:
    network = replace(BOTH, devices=tuple(replace(device, name="RPC0") for device in BOTH.devices))

    assert estimate(DENSE, SETTINGS, network).uses[1].needed == 0
    assert estimate(DENSE, SETTINGS, BOTH).uses[1].needed > 0


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(replace(DENSE, order=(0,)), id="one layer"),
        pytest.param(replace(DENSE, kinds=(LayerShape(),)), id="layers without tensors"),
        pytest.param(replace(TIED, output=()), id="a tied output without bytes"),
        pytest.param(ModelShape(architecture="", kinds=(LayerShape(),), order=(0,), width=0), id="nothing"),
    ],
)
@pytest.mark.parametrize("gpu_layers", [0, 1, 2, 999])
def test_no_shape_takes_less_than_nothing(shape: ModelShape, gpu_layers: int) -> None:
    settings = replace(SETTINGS, gpu_layers=gpu_layers, context=1, cpu_moe=999)

    plan = estimate(shape, settings, machine(GB, GB, GB))

    assert all(min(use.weights, use.kv_cache, use.compute) >= 0 for use in plan.uses)
