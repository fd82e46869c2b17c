import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.engines.planner.split import split_layers
from tests.engines.planner.shapes import GB, machine


@pytest.mark.parametrize(
    ("gpu_layers", "split", "devices", "expected"),
    [
        pytest.param(5, (), [], [11], id="no device"),
        pytest.param(0, (), [8 * GB], [11, 0], id="none"),
        pytest.param(1, (), [8 * GB], [10, 1], id="the output layer"),
        pytest.param(-1, (), [8 * GB], [11, 0], id="less than none"),
        pytest.param(999, (), [8 * GB], [0, 11], id="more than there are"),
        pytest.param(10, (), [8 * GB, 8 * GB], [1, 5, 5], id="equal devices"),
        pytest.param(11, (), [8 * GB, 4 * GB], [0, 8, 3], id="parts as large as what is free"),
        pytest.param(8, (3, 5), [8 * GB, 4 * GB], [3, 3, 5], id="parts that are set"),
        pytest.param(8, (8, 0), [8 * GB, 8 * GB], [3, 8, 0], id="nothing for one of them"),
        pytest.param(8, (1, 2, 3), [8 * GB, 8 * GB], [3, 4, 4], id="parts for other devices"),
        pytest.param(4, (), [0, 0], [7, 2, 2], id="devices that report no memory"),
    ],
)
def test_layers_are_split_as_in_llama_cpp(
    gpu_layers: int, split: tuple[int, ...], devices: list[int], expected: list[int]
) -> None:
    parts = split_layers(10, PlanSettings(context=512, gpu_layers=gpu_layers, split=split), machine(GB, *devices))

    assert list(map(len, parts)) == expected
    assert [layer for part in parts for layer in part] == list(range(11))


def test_nothing_that_is_free_is_no_reason_to_fail() -> None:
    assert list(map(len, split_layers(3, PlanSettings(context=512, gpu_layers=4), machine(0, 0)))) == [0, 4]
