from typing import get_args

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape
from localllm_magics.core.request import KvType
from localllm_magics.engines.planner.kv_cache import cache_bytes, cells, row_bytes


@pytest.mark.parametrize(
    ("context", "window", "expected"),
    [
        pytest.param(1, 0, 256, id="the smallest"),
        pytest.param(256, 0, 256, id="a whole step"),
        pytest.param(1000, 0, 1024, id="rounded up"),
        pytest.param(8192, 1000, 1280, id="a window and a batch"),
        pytest.param(1000, 4096, 1024, id="a window larger than the context"),
    ],
)
def test_a_cache_has_room_for_the_context_or_for_a_window(context: int, window: int, expected: int) -> None:
    assert cells(PlanSettings(context=context), window) == expected


@pytest.mark.parametrize(
    ("kv_type", "expected"),
    [
        pytest.param("f32", 1024 * 4 * 192, id="f32"),
        pytest.param("f16", 1024 * 2 * 192, id="f16"),
        pytest.param("q8_0", 1024 * 34 * 6, id="q8_0"),
        pytest.param("q4_0", 1024 * 18 * 6, id="q4_0"),
    ],
)
def test_a_cache_holds_keys_and_values_in_its_type(kv_type: str, expected: int) -> None:
    layer = LayerShape(key_width=128, value_width=64)

    assert cache_bytes(layer, PlanSettings(context=1024, kv_type=kv_type)) == expected


def test_a_state_is_as_large_for_any_context() -> None:
    layer = LayerShape(state_bytes=1000)

    assert [cache_bytes(layer, PlanSettings(context=context)) for context in (256, 65_536)] == [1000, 1000]


def test_each_type_that_can_be_asked_for_has_a_size() -> None:
    settings = [PlanSettings(context=256, kv_type=kv_type) for kv_type in get_args(KvType)]

    assert all(row_bytes(256, each) for each in settings)
