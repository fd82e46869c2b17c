from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request

NAN = float("nan")
options: Any = LoadOptions  # what a user without a type checker can write
INFINITY = float("inf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: LoadOptions(ctx=0), "--ctx must be 1 or more, not 0.", id="ctx"),
        pytest.param(
            lambda: LoadOptions(ctx=2**31), f"--ctx must be from 1 to {2**31 - 1}, not {2**31}.", id="large ctx"
        ),
        pytest.param(lambda: options(ctx="4k"), "--ctx must be 1 or more, not '4k'.", id="text"),
        pytest.param(lambda: options(ctx="0"), "--ctx must be 1 or more, not '0'.", id="a number as text"),
        pytest.param(
            lambda: options(kv_type="q9"),
            "--kv-type must be one of f32, f16, bf16, q8_0, q5_1, q5_0, iq4_nl, q4_1, q4_0, not 'q9'.",
            id="type",
        ),
        pytest.param(lambda: LoadOptions(threads=0), "--threads must be from 1 to 512, not 0.", id="threads"),
        pytest.param(lambda: options(threads=1.5), "--threads must be from 1 to 512, not 1.5.", id="half"),
        pytest.param(
            lambda: LoadOptions(gpu_layers=-1), "--gpu-layers must be 0 or more, auto or all, not -1.", id="layers"
        ),
        pytest.param(
            lambda: options(gpu_layers="some"), "--gpu-layers must be 0 or more, auto or all, not 'some'.", id="some"
        ),
        pytest.param(
            lambda: LoadOptions(gpu_layers=True), "--gpu-layers must be 0 or more, auto or all, not True.", id="yes"
        ),
    ],
)
def test_a_load_option_out_of_range_is_refused(make: Callable[[], LoadOptions], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        make()

    assert caught.value.message == message
    assert caught.value.hint.startswith("Try --")


@pytest.mark.parametrize("layers", [None, 0, 5, "auto", "all"])
def test_gpu_layers_can_be_a_number_or_a_word(layers: Any) -> None:  # noqa: ANN401 - a table of kinds
    assert LoadOptions(gpu_layers=layers).gpu_layers == layers


def test_missing_load_options_come_from_the_defaults() -> None:
    assert LoadOptions(ctx=5).or_else(LoadOptions(ctx=9, threads=2)) == LoadOptions(ctx=5, threads=2)


def test_each_request_has_an_id_of_its_own() -> None:
    ids = {Request(messages=to_messages("Why?")).id for _ in range(100)}

    assert len(ids) == 100


def test_a_raw_text_has_no_company() -> None:
    with pytest.raises(BadOption, match="--raw continues one text"):
        Request(messages=to_messages("Once", system="Be brief."), raw=True)


def test_numbers_of_numpy_are_load_options() -> None:
    taken = options(ctx=np.int64(512), gpu_layers=np.int32(3))

    assert (taken, type(taken.ctx)) == (LoadOptions(ctx=512, gpu_layers=3), int)


def test_numbers_may_be_written_as_text() -> None:
    assert options(ctx="4096", gpu_layers="3") == LoadOptions(ctx=4096, gpu_layers=3)


def test_a_type_may_be_written_in_any_case() -> None:
    assert options(kv_type="Q8_0") == LoadOptions(kv_type="q8_0")


@pytest.mark.parametrize("think", [True, False])
def test_a_raw_text_has_no_template_that_could_switch_reasoning(*, think: bool) -> None:
    with pytest.raises(BadOption, match="--raw has no chat template"):
        Request(messages=to_messages("Once"), raw=True, think=think)
