from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, MAX_SEED, Sampling

NAN = float("nan")
options: Any = LoadOptions  # what a user without a type checker can write
INFINITY = float("inf")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"temperature": 0}, id="greedy"),
        pytest.param({"temperature": 1e6}, id="hot"),
        pytest.param({"top_k": 0}, id="all tokens"),
        pytest.param({"top_p": 0.0, "min_p": 1.0}, id="borders"),
        pytest.param({"repeat_penalty": 0.5}, id="repeat"),
        pytest.param({"seed": MAX_SEED, "max_tokens": 10**12}, id="large"),
        pytest.param({"stop": ("END", "\n")}, id="stop"),
    ],
)
def test_values_in_range_are_kept(values: dict[str, Any]) -> None:
    sampling = Sampling(**values)

    assert {name: getattr(sampling, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"temperature": -1}, "--temperature must be 0 or more, not -1.", id="below"),
        pytest.param({"temperature": NAN}, "--temperature must be 0 or more, not nan.", id="nan"),
        pytest.param({"temperature": INFINITY}, "--temperature must be 0 or more, not inf.", id="infinite"),
        pytest.param({"temperature": "hot"}, "--temperature must be 0 or more, not 'hot'.", id="text"),
        pytest.param({"temperature": True}, "--temperature must be 0 or more, not True.", id="yes"),
        pytest.param({"top_k": -1}, "--top-k must be a whole number, 0 or more, not -1.", id="top_k"),
        pytest.param({"top_k": 1.5}, "--top-k must be a whole number, 0 or more, not 1.5.", id="half"),
        pytest.param({"top_p": 3}, "--top-p must be from 0 to 1, not 3.", id="above"),
        pytest.param({"min_p": -0.1}, "--min-p must be from 0 to 1, not -0.1.", id="min_p"),
        pytest.param({"repeat_penalty": 0}, "--repeat-penalty must be more than 0, not 0.", id="repeat"),
        pytest.param({"seed": -1}, f"--seed must be a whole number from 0 to {MAX_SEED}, not -1.", id="seed"),
        pytest.param({"max_tokens": 0}, "--max-tokens must be a whole number, 1 or more, not 0.", id="none"),
        pytest.param({"max_tokens": 2.5}, "--max-tokens must be a whole number, 1 or more, not 2.5.", id="2.5"),
        pytest.param({"stop": ("a", "")}, "--stop must be a text that is not empty.", id="empty stop"),
        pytest.param({"stop": (1,)}, "--stop must be a text that is not empty.", id="number as stop"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as caught:
        Sampling(**values)

    assert caught.value.message == message
    assert caught.value.hint.startswith("Try --")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: LoadOptions(ctx=0), "--ctx must be 1 or more, not 0.", id="ctx"),
        pytest.param(lambda: LoadOptions(ctx=2**31), f"--ctx must be 1 or more, not {2**31}.", id="large ctx"),
        pytest.param(lambda: options(ctx="9"), "--ctx must be 1 or more, not '9'.", id="text"),
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


def test_missing_values_come_from_the_defaults() -> None:
    mine = Sampling(temperature=0.0, max_tokens=5, stop=("END",))

    filled = mine.or_else(LLAMA_CPP_SAMPLING)

    assert filled == Sampling(
        temperature=0.0, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0, max_tokens=5, stop=("END",)
    )


def test_missing_load_options_come_from_the_defaults() -> None:
    assert LoadOptions(ctx=5).or_else(LoadOptions(ctx=9, threads=2)) == LoadOptions(ctx=5, threads=2)


def test_a_seed_is_kept() -> None:
    assert Sampling(seed=0).seeded() == Sampling(seed=0)


def test_a_missing_seed_is_drawn_from_all_there_are() -> None:
    seeds = {Sampling().seeded().seed for _ in range(50)}

    assert len(seeds) > 40
    assert all(seed is not None and 0 <= seed <= MAX_SEED for seed in seeds)


def test_a_string_is_one_message_of_the_user() -> None:
    assert to_messages("Why?") == (Message.from_text("user", "Why?"),)


def test_the_system_prompt_comes_first() -> None:
    prompt: Any = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]

    messages = to_messages(prompt, system="Be brief.")

    assert [message.to_dict() for message in messages] == [{"role": "system", "content": "Be brief."}, *prompt]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param([], "The prompt is an empty list.", id="empty"),
        pytest.param([{"role": "user"}], "{'role': 'user'} is not a message.", id="no content"),
        pytest.param(["Why?"], "'Why?' is not a message.", id="text in a list"),
        pytest.param([None], "None is not a message.", id="nothing in a list"),
        pytest.param(
            [{"role": "robot", "content": "x"}], "{'role': 'robot', 'content': 'x'} is not a message.", id="role"
        ),
        pytest.param(
            [{"role": ["user"], "content": "x"}], "{'role': ['user'], 'content': 'x'} is not a message.", id="list"
        ),
        pytest.param([{"role": "user", "content": 1}], "{'role': 'user', 'content': 1} is not a message.", id="number"),
    ],
)
def test_what_is_no_message_is_refused(prompt: Any, message: str) -> None:  # noqa: ANN401 - a table of mistakes
    with pytest.raises(BadOption) as caught:
        to_messages(prompt)

    assert caught.value.message == message
    assert caught.value.hint


def test_each_request_has_an_id_of_its_own() -> None:
    ids = {Request(messages=to_messages("Why?")).id for _ in range(100)}

    assert len(ids) == 100


def test_a_raw_text_has_no_company() -> None:
    with pytest.raises(BadOption, match="--raw continues one text"):
        Request(messages=to_messages("Once", system="Be brief."), raw=True)


@pytest.mark.parametrize(
    ("prompt", "system", "message"),
    [
        pytest.param(None, None, "The prompt is None, not a string or a list of messages.", id="none"),
        pytest.param(5, None, "The prompt is a value of type int, not a string or a list of messages.", id="number"),
        pytest.param({}, None, "The prompt is a value of type dict, not a string or a list of messages.", id="dict"),
        pytest.param("Why?", 5, "The system prompt is a value of type int, not a string.", id="system"),
    ],
)
def test_a_prompt_of_another_type_is_refused(prompt: Any, system: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(BadOption) as caught:
        to_messages(prompt, system)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("int64", "max_tokens", 5), ("uint8", "seed", 5), ("float32", "temperature", 0.5), ("int32", "temperature", 1)],
)
def test_numbers_of_numpy_are_numbers(kind: str, name: str, value: float) -> None:
    taken = getattr(Sampling(**{name: getattr(np, kind)(value)}), name)

    assert (taken, type(taken)) == (value, type(value))


def test_numbers_of_numpy_are_load_options() -> None:
    taken = options(ctx=np.int64(512), gpu_layers=np.int32(3))

    assert (taken, type(taken.ctx)) == (LoadOptions(ctx=512, gpu_layers=3), int)
