import pytest

from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.engines.planner.overrides import Move, moves

ALL = r"ffn_(up|down|gate_up|gate)_(ch|)exps"


def move(layer: int, feed_forward: float = 0, experts: float = 0, device: str = HOST) -> Move:
    return Move(layer=layer, device=device, feed_forward=feed_forward, experts=experts)


@pytest.mark.parametrize(
    ("cpu_moe", "overrides", "expected"),
    [
        pytest.param(0, (), [], id="nothing"),
        pytest.param(2, (), [move(0, experts=1), move(1, experts=1)], id="the experts of the first layers"),
        pytest.param(999, (), [move(layer, experts=1) for layer in range(3)], id="of all layers"),
        pytest.param(0, (rf"blk\.2\.{ALL}",), [move(2, experts=1)], id="experts of a layer"),
        pytest.param(0, (rf"blk\.\d+\.{ALL}",), [move(layer, experts=1) for layer in range(3)], id="of any layer"),
        pytest.param(0, (r"blk\.1\.ffn_down.*",), [move(1, 1 / 3, 1 / 3)], id="one matrix of three"),
        pytest.param(0, (r"blk\.1\.ffn_(gate|up|gate_up|down).*",), [move(1, 1, 1)], id="the whole feed-forward part"),
        pytest.param(0, (rf"blk\.1\.{ALL}=CUDA1",), [move(1, experts=1, device="CUDA1")], id="on another device"),
        pytest.param(
            1,
            (r"blk\.0\.ffn_down.*=CUDA1",),
            [move(0, experts=1), move(0, 1 / 3, device="CUDA1")],
            id="the first counts",
        ),
        pytest.param(0, (r"blk\.7\.ffn_down.*",), [], id="a layer that is not there"),
        pytest.param(0, (r"blk\.0\.attn_.*",), [], id="other tensors"),
        pytest.param(0, ("(",), [], id="no regular expression"),
    ],
)
def test_patterns_move_tensors(cpu_moe: int, overrides: tuple[str, ...], expected: list[Move]) -> None:
    settings = PlanSettings(context=512, cpu_moe=cpu_moe, overrides=overrides)

    assert list(moves(settings, 3)) == expected
