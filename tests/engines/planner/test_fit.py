from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import MachineMemory, PlanSettings, Verdict
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.planner.fit import MARGIN, fit, fits, largest_context, settings_that_fit
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

    assert [fits(plan, MARGIN) for plan in plans] == [True, False]
    assert fits(plans[1])


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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(16 * GB, 1_000_000, id="all of it"),
        pytest.param(2 * GB, 63_488, id="as much as fits"),
        pytest.param(GB, 0, id="none"),
    ],
)
def test_the_largest_context_fits_and_no_larger_one(host: int, expected: int) -> None:
    base, on = PlanSettings(context=1_000_000), machine(host)

    context = largest_context(DENSE, on, base)

    assert context == expected
    assert not context or fits(estimate(DENSE, replace(base, context=context), on))
    assert context == base.context or not fits(estimate(DENSE, replace(base, context=context + 256), on))


@pytest.mark.parametrize(
    ("shape", "on", "base", "expected"),
    [
        pytest.param(
            DENSE,
            machine(2 * GB),
            PlanSettings(context=80_000),
            [{"kv_type": "q8_0"}, {"kv_type": "q4_0"}, {"context": 63_488}],
            id="smaller types of the cache, or a smaller context",
        ),
        pytest.param(
            DENSE,
            machine(2 * GB),
            PlanSettings(context=80_000, flash_attention=False),
            [{"context": 35_584}],
            id="no such types without flash attention",
        ),
        pytest.param(
            DENSE,
            machine(4 * GB, 1200 * MB),
            PlanSettings(context=4096, gpu_layers=11),
            [{"gpu_layers": 1}],
            id="fewer layers on the device",
        ),
        pytest.param(
            EXPERTS,
            machine(16 * GB, 5 * GB),
            PlanSettings(context=4096, gpu_layers=11),
            [
                {"cpu_moe": 6},
                {
                    "overrides": (
                        r"blk\.3\.ffn_(gate|gate_up|down).*",
                        *(rf"blk\.{layer}\.{EXPERTS_OF}" for layer in range(4, 10)),
                    )
                },
            ],
            id="experts on the CPU",
        ),
        pytest.param(DENSE, machine(GB), PlanSettings(context=4096), [], id="nothing"),
    ],
)
def test_what_would_fit_instead_is_found(
    shape: ModelShape, on: MachineMemory, base: PlanSettings, expected: list[dict[str, object]]
) -> None:
    found = settings_that_fit(shape, on, base)

    assert found[: len(expected)] == [replace(base, **each) for each in expected]  # type: ignore[arg-type] # of a table
    assert all(fits(estimate(shape, settings, on)) for settings in found)
    assert len(found) == len(set(found))


def test_a_smaller_context_is_found_with_a_placement_for_it() -> None:
    on, base = machine(16 * GB, 3 * GB), PlanSettings(context=4_000_000)

    found = settings_that_fit(DENSE, on, base)

    assert max(settings.gpu_layers for settings in found) == 11
