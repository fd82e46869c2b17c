import pytest

from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.ollama.parameters import to_context, to_options, to_sampling


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({}, Sampling(), id="none"),
        pytest.param(
            {
                "temperature": 0.6,
                "top_k": 20,
                "top_p": 0.9,
                "min_p": 0,
                "repeat_penalty": 1.1,
                "seed": 7,
                "num_predict": 5,
                "stop": ["a", "b"],
            },
            Sampling(
                temperature=0.6,
                top_k=20,
                top_p=0.9,
                min_p=0,
                repeat_penalty=1.1,
                seed=7,
                max_tokens=5,
                stop=("a", "b"),
            ),
            id="all",
        ),
        pytest.param({"stop": "END"}, Sampling(stop=("END",)), id="one stop"),
        pytest.param({"stop": ["", 7, None, "x"]}, Sampling(stop=("x",)), id="bad stops"),
        pytest.param({"stop": {"a": 1}}, Sampling(), id="no stops"),
        pytest.param(
            {"num_predict": -1, "seed": -1, "top_p": 2, "temperature": 0.5}, Sampling(temperature=0.5), id="out"
        ),
        pytest.param(
            {"temperature": "hot", "top_k": 1.5, "min_p": True, "seed": [1], "top_p": 0.5},
            Sampling(top_p=0.5),
            id="types",
        ),
        pytest.param({"temperature": float("nan"), "mirostat": 2, "num_gpu": 99}, Sampling(), id="unknown"),
    ],
)
def test_parameters_that_can_be_used_are(params: dict[str, object], expected: Sampling) -> None:
    assert to_sampling(params) == expected


def test_what_is_sent_is_read_back() -> None:
    sampling = Sampling(
        temperature=0.6, top_k=20, top_p=0.9, min_p=0.0, repeat_penalty=1.1, seed=7, max_tokens=5, stop=("a",)
    )

    assert to_sampling(to_options(sampling)) == sampling
    assert to_options(Sampling()) == {}


@pytest.mark.parametrize(
    ("value", "context"), [(512, 512), (0, None), (-1, None), (10**30, None), ("512", None), (5.5, None), (None, None)]
)
def test_a_context_that_can_be_used_is(value: object, context: int | None) -> None:
    assert to_context({"num_ctx": value}) == context
