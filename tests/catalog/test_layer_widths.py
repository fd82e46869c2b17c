import pytest

from localllm_magics.catalog.gguf import Value
from localllm_magics.catalog.hyperparameters import Hyperparameters
from localllm_magics.catalog.layer_widths import AttentionWidths, StateWidths, attention_widths, state_widths

HEADS = {"embedding_length": 1024, "attention.head_count": 8}


def keys(values: dict[str, Value], *, architecture: str = "llama", layers: int = 1) -> Hyperparameters:
    metadata = {f"{architecture}.{name}": value for name, value in values.items()}
    return Hyperparameters(architecture=architecture, metadata=metadata, layers=layers)


def widths(key: int, value: int, query: int = 1024, window: int = 0) -> AttentionWidths:
    return AttentionWidths(key=key, value=value, query=query, window=window)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, widths(1024, 1024), id="each head has its key and value"),
        pytest.param({"attention.head_count_kv": 2}, widths(256, 256), id="grouped queries"),
        pytest.param(
            {"attention.head_count_kv": 2, "attention.key_length": 64, "attention.value_length": 32},
            widths(128, 64, 512),
            id="heads of another size",
        ),
        pytest.param(
            {"attention.head_count_kv": 1, "attention.key_length": 576, "attention.key_length_mla": 192},
            widths(576, 0, 4608),
            id="a latent for all heads",
        ),
        pytest.param(
            {"attention.head_count_kv": 1, "attention.indexer.key_length": 64}, widths(192, 128), id="indexed"
        ),
        pytest.param({"attention.head_count_kv": 0, "attention.indexer.key_length": 64}, widths(0, 0), id="no cache"),
        pytest.param({"attention.shared_kv_layers": 1}, widths(0, 0), id="the cache of another layer"),
    ],
)
def test_attention_is_as_wide_as_llama_cpp_reads_it(values: dict[str, Value], expected: AttentionWidths) -> None:
    assert attention_widths(keys({**HEADS, **values})) == [expected]


def test_a_list_has_a_number_of_heads_for_each_layer() -> None:
    found = attention_widths(keys({**HEADS, "attention.head_count_kv": (4, 0)}, layers=2))

    assert found == [widths(512, 512), widths(0, 0)]


def test_layers_with_a_window_may_have_heads_of_another_size() -> None:
    values: dict[str, Value] = {
        **HEADS,
        "attention.sliding_window": 512,
        "attention.key_length_swa": 64,
        "attention.value_length_swa": 32,
    }

    found = attention_widths(keys(values, architecture="gemma2", layers=2))

    assert found == [widths(512, 256, 512, window=512), widths(1024, 1024)]


def test_some_layers_of_gemma3n_use_the_cache_of_an_earlier_one() -> None:
    found = attention_widths(keys({**HEADS}, architecture="gemma3n", layers=21))

    assert [each.key for each in found] == [1024] * 20 + [0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, StateWidths(elements=0, results=0), id="none"),
        pytest.param(
            {"ssm.conv_kernel": 4, "ssm.inner_size": 2048, "ssm.state_size": 16, "ssm.time_step_rank": 64},
            StateWidths(elements=3 * 2048 + 2048 * 16, results=5 * 2048),
            id="mamba",
        ),
        pytest.param(
            {
                "ssm.conv_kernel": 4,
                "ssm.inner_size": 2048,
                "ssm.state_size": 128,
                "ssm.group_count": 2,
                "ssm.time_step_rank": 32,
            },
            StateWidths(elements=3 * (2048 + 512) + 2048 * 128, results=5 * 2048 + 3 * 512 + 32),
            id="mamba 2",
        ),
        pytest.param({"wkv.head_size": 64}, StateWidths(elements=1024 * 66, results=17 * 1024), id="rwkv"),
        pytest.param({"shortconv.l_cache": 3}, StateWidths(elements=2048, results=6 * 1024), id="convolution"),
        pytest.param(
            {"kda.head_dim": 128, "ssm.conv_kernel": 4},
            StateWidths(elements=1024 * (9 + 128), results=12 * 1024),
            id="delta attention",
        ),
    ],
)
def test_states_are_as_large_as_llama_cpp_reads_them(values: dict[str, Value], expected: StateWidths) -> None:
    assert state_widths(keys({**HEADS, **values})) == expected
