import re

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.tensor_overrides import override_patterns, tensor_overrides


@pytest.mark.parametrize(
    ("layers", "stay"),
    [
        pytest.param(0, set(), id="none"),
        pytest.param(2, {"blk.0.ffn_up_exps.weight", "blk.1.ffn_gate_up_exps.weight"}, id="two"),
        pytest.param(
            ALL_LAYERS,
            {"blk.0.ffn_up_exps.weight", "blk.1.ffn_gate_up_exps.weight", "blk.12.ffn_down_chexps.weight"},
            id="all",
        ),
    ],
)
def test_the_experts_of_the_first_layers_stay_on_the_cpu(layers: int, stay: set[str]) -> None:
    names = {
        "blk.0.ffn_up_exps.weight",
        "blk.1.ffn_gate_up_exps.weight",
        "blk.12.ffn_down_chexps.weight",
        "blk.0.ffn_up.weight",
        "blk.0.ffn_gate_inp.weight",
    }

    patterns = override_patterns(PlanSettings(context=256, cpu_moe=layers))

    assert {name for name in names for pattern, _ in patterns if re.search(pattern, name)} == stay
    assert [device for _, device in patterns] == ["CPU"] * len(patterns)


def test_others_follow_with_their_device(lib: Library) -> None:
    settings = PlanSettings(context=256, cpu_moe=1, overrides=(r"blk\.3\.ffn_down", r"blk\.4\.ffn_up=CUDA1"))

    *_, last, end = array = tensor_overrides(lib, settings)

    assert override_patterns(settings)[1:] == [(r"blk\.3\.ffn_down", "CPU"), (r"blk\.4\.ffn_up", "CUDA1")]
    assert (len(array), last.pattern, end.pattern, end.buffer_type) == (4, rb"blk\.4\.ffn_up", None, None)
    # A device that is not there is the CPU.
    assert last.buffer_type == lib.buffer_type("CPU")
