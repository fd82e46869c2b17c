from dataclasses import fields
from typing import Any, get_type_hints

import numpy as np
import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, MAX_SEED, SAMPLING_OPTIONS, Sampling, SamplingOptions

NAN = float("nan")
INFINITY = float("inf")


def test_each_option_has_one_row() -> None:
    names = {option.name for option in SAMPLING_OPTIONS}

    assert len(names) == len(SAMPLING_OPTIONS)
    assert names == {field.name for field in fields(Sampling)} == set(SamplingOptions.__annotations__)
    assert {option.flags[-1] for option in SAMPLING_OPTIONS} == {f"--{name.replace('_', '-')}" for name in names}


def test_each_row_has_the_type_of_its_field() -> None:
    hints = get_type_hints(Sampling)

    types = {o.name: tuple[str, ...] if o.type is str else o.type | None for o in SAMPLING_OPTIONS}

    assert types == {name: hints[name] for name in types}


def test_each_example_and_default_is_a_value() -> None:
    for option in SAMPLING_OPTIONS:
        if option.type is not str:
            option.to_number(option.type(option.example))
        if option.default is not None:
            assert getattr(LLAMA_CPP_SAMPLING, option.name) == option.default


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


def test_missing_values_come_from_the_defaults() -> None:
    mine = Sampling(temperature=0.0, max_tokens=5, stop=("END",))

    filled = mine.or_else(LLAMA_CPP_SAMPLING)

    assert filled == Sampling(
        temperature=0.0, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0, max_tokens=5, stop=("END",)
    )


def test_a_seed_is_kept() -> None:
    assert Sampling(seed=0).seeded() == Sampling(seed=0)


def test_a_missing_seed_is_drawn_from_all_there_are() -> None:
    seeds = {Sampling().seeded().seed for _ in range(50)}

    assert len(seeds) > 40
    assert all(seed is not None and 0 <= seed <= MAX_SEED for seed in seeds)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("int64", "max_tokens", 5), ("uint8", "seed", 5), ("float32", "temperature", 0.5), ("int32", "temperature", 1)],
)
def test_numbers_of_numpy_are_numbers(kind: str, name: str, value: float) -> None:
    taken = getattr(Sampling(**{name: getattr(np, kind)(value)}), name)

    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        pytest.param({}, Sampling(), id="none"),
        pytest.param({"top_k": 5, "seed": 1}, Sampling(top_k=5, seed=1), id="numbers"),
        pytest.param({"stop": "END"}, Sampling(stop=("END",)), id="a stop"),
        pytest.param({"stop": ["END", "\n"]}, Sampling(stop=("END", "\n")), id="stops"),
        pytest.param({"stop": None}, Sampling(), id="no stop"),
    ],
)
def test_options_become_sampling(options: dict[str, Any], sampling: Sampling) -> None:
    assert Sampling.from_options(options) == sampling


def test_the_options_that_are_set_are_listed_as_json_has_them() -> None:
    sampling = Sampling(temperature=0.0, seed=0, stop=("END",))

    values = {option.name: value for option, value in sampling.items()}

    assert values == {"temperature": 0.0, "seed": 0, "stop": ["END"]}


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        pytest.param(
            {"temprature": 1}, "There is no option 'temprature'.", "Did you mean temperature?", id="nearly right"
        ),
        pytest.param({"xyz": 1}, "There is no option 'xyz'.", "Known options: temperature, top_k, ", id="far off"),
        pytest.param({"top_p": "a"}, "--top-p must be from 0 to 1, not 'a'.", "Try --top-p 0.95.", id="text"),
        pytest.param({"stop": 5}, "--stop must be a text or a list of texts, not 5.", "Try --stop ", id="stop"),
        pytest.param({"stop": [5]}, "--stop must be a text that is not empty.", "Try --stop ", id="list of numbers"),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(BadOption) as caught:
        Sampling.from_options(options)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)
