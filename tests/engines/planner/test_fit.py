from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import MachineMemory, PlanSettings, Verdict
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.planner.fit import MARGIN, fit
from tests.engines.planner.shapes import DENSE, EXPERTS, GB, MB, machine

SETTINGS = PlanSettings(context=4096)
EXPERTS_OF = r"ffn_(up|down|gate_up|gate)_(ch|)exps"


@pytest.mark.parametrize(
    ("shape", "on", "verdict", "layers"),
    [
        pytest.param(DENSE, machine(16 * GB), "cpu", 0, id="no device"),
        pytest.param(DENSE, machine(GB), "too big", 0, id="a small host"),
        pytest.param(DENSE, machine(16 * GB, 8 * GB), "gpu", 11, id="a large device"),
        pytest.param(DENSE, machine(16 * GB, 2 * GB), "partial", 7, id="a device for some layers"),
        pytest.param(DENSE, machine(16 * GB, GB), "cpu", 0, id="a device with the margin only"),
        pytest.param(DENSE, machine(GB, 4 * GB), "gpu", 11, id="a small host beside a large device"),
        pytest.param(DENSE, machine(100 * MB, 2 * GB), "too big", 7, id="no room for the rest"),
        pytest.param(DENSE, machine(16 * GB, 2 * GB, 2 * GB), "gpu", 11, id="two devices"),
        pytest.param(DENSE, machine(8 * GB, 8 * GB, shared=True), "gpu", 11, id="a device with the host's memory"),
        pytest.param(DENSE, machine(GB, 8 * GB, shared=True), "too big", 11, id="memory that is there once"),
        pytest.param(EXPERTS, machine(16 * GB, 16 * GB), "gpu", 11, id="all experts"),
        pytest.param(EXPERTS, machine(16 * GB, 5 * GB), "partial", 11, id="some experts"),
        pytest.param(EXPERTS, machine(16 * GB, 1700 * MB), "partial", 1, id="no experts, and not those of one layer"),
    ],
)
def test_a_model_fits_on_devices_on_the_host_or_nowhere(
    shape: ModelShape, on: MachineMemory, verdict: Verdict, layers: int
) -> None:
    found = fit(shape, on, SETTINGS)

    assert (found.verdict, found.max_gpu_layers, found.context) == (verdict, layers, 4096)


def test_a_placement_leaves_room_and_takes_what_there_is() -> None:
    on = machine(16 * GB, 2 * GB)
    layers = fit(DENSE, on, SETTINGS).max_gpu_layers
    plans = [estimate(DENSE, replace(SETTINGS, gpu_layers=count), on) for count in (layers, layers + 1)]
    some, one_more = [2 * GB - plan.uses[1].needed for plan in plans]

    assert 0 < one_more < MARGIN <= some


def test_first_layers_have_their_experts_on_the_device_and_one_layer_a_part_of_them() -> None:
    found = fit(EXPERTS, machine(16 * GB, 5 * GB), SETTINGS)

    assert found.overrides == (
        r"blk\.3\.ffn_(gate|gate_up|down).*",
        *(rf"blk\.{layer}\.{EXPERTS_OF}" for layer in range(4, 10)),
    )


def test_the_sizes_of_a_fit_are_those_of_its_plan() -> None:
    on = machine(16 * GB, 8 * GB)
    found = fit(DENSE, on, SETTINGS)

    assert found.needed_bytes == estimate(DENSE, replace(SETTINGS, gpu_layers=11), on).needed
    assert found.free_bytes == 24 * GB
    assert fit(DENSE, machine(8 * GB, 8 * GB, shared=True), SETTINGS).free_bytes == 8 * GB
