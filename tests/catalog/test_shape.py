import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm_magics.catalog.gguf import Header, Tensor, Value, read_header
from localllm_magics.catalog.inspect import describe_file
from localllm_magics.catalog.shape import read_shape, shape_from_json, shape_to_json
from localllm_magics.core.memory_plan import DeviceMemory, MachineMemory, PlanSettings
from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.sparse_gguf import write_sparse
from tests.catalog.gguf_files import DEMO
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

F32, Q4_0 = 0, 2
HOST = MachineMemory(host=DeviceMemory(name="CPU", free=1 << 34, total=1 << 34, is_host=True))
METADATA: Mapping[str, Value] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 2,
    "llama.feed_forward_length": 128,
}
EMBEDDINGS = Tensor(name="token_embd.weight", dims=(64, 100), type=Q4_0, offset=0)


def header(*tensors: Tensor, metadata: Mapping[str, Value] = METADATA) -> Header:
    return Header(version=3, metadata=metadata, tensors=tensors, data_offset=0, size_bytes=0, expected_size=None)


def tensor(name: str, *dims: int, kind: int = F32) -> Tensor:
    return Tensor(name=name, dims=dims, type=kind, offset=0)


def test_tensors_are_grouped_by_layer_and_part() -> None:
    shape = read_shape(
        [
            header(
                EMBEDDINGS,
                tensor("output.weight", 64, 100, kind=Q4_0),
                tensor("output_norm.weight", 64),
                tensor("blk.0.attn_norm.weight", 64),
                tensor("blk.0.attn_k.weight", 64, 64, kind=Q4_0),
                tensor("blk.0.ffn_up.weight", 64, 128),
            ),
            header(tensor("blk.0.ffn_gate_exps.weight", 64, 128, 4), tensor("blk.0.ffn_down_chexps.bias", 64)),
        ]
    )

    assert shape == ModelShape(
        architecture="llama",
        kinds=(
            LayerShape(
                attention=(("F32", 256), ("Q4_0", 2304)),
                feed_forward=(("F32", 32_768),),
                experts=(("F32", 131_328),),
                key_width=64,
                value_width=64,
                query_width=64,
            ),
        ),
        order=(0,),
        input=(("Q4_0", 3600),),
        output=(("F32", 256), ("Q4_0", 3600)),
        width=64,
        inner_width=128,
        activation_width=128,
        heads=2,
        vocabulary=100,
    )


def test_a_tied_output_is_a_copy_of_the_embeddings() -> None:
    shape = read_shape([header(EMBEDDINGS)])

    assert shape is not None
    assert shape.is_tied
    assert shape.output == shape.input


def test_experts_that_are_used_together_count_as_one_width() -> None:
    experts = {"llama.expert_count": 8, "llama.expert_used_count": 3, "llama.expert_feed_forward_length": 32}
    sparse, dense = tensor("blk.0.ffn_up_exps.weight", 64, 32, 8), tensor("blk.0.ffn_up.weight", 64, 128)

    found = [read_shape([header(EMBEDDINGS, each, metadata={**METADATA, **experts})]) for each in (sparse, dense)]

    assert [shape and (shape.inner_width, shape.activation_width) for shape in found] == [(32, 96), (32, 128)]


def test_a_layer_for_later_tokens_is_not_loaded() -> None:
    metadata = {**METADATA, "llama.nextn_predict_layers": 1}

    shape = read_shape([header(EMBEDDINGS, tensor("blk.0.attn_k.weight", 64, 64), metadata=metadata)])

    assert shape is not None
    assert shape.layers == (LayerShape(),)


@pytest.mark.parametrize(
    ("names", "has_cache", "has_state"),
    [
        pytest.param(["attn_k"], True, False, id="attention"),
        pytest.param(["attn_qkv"], True, False, id="fused attention"),
        pytest.param(["ssm_in"], False, True, id="recurrent"),
        pytest.param(["ssm_in", "attn_qkv"], False, True, id="recurrent, with a tensor of an attention's name"),
        pytest.param(["ssm_in", "attn_k"], True, True, id="both"),
        pytest.param(["ffn_norm"], False, False, id="neither"),
    ],
)
def test_tensors_tell_attention_from_recurrence(names: list[str], has_cache: bool, has_state: bool) -> None:
    metadata = {**METADATA, "llama.ssm.inner_size": 128, "llama.ssm.state_size": 16}
    tensors = [tensor(f"blk.0.{name}.weight", 64) for name in names]

    shape = read_shape([header(EMBEDDINGS, *tensors, metadata=metadata)])

    assert shape is not None
    assert bool(shape.kinds[0].key_width) == has_cache
    assert bool(shape.kinds[0].state_bytes) == has_state


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        pytest.param((EMBEDDINGS,), {}, id="no architecture"),
        pytest.param((), METADATA, id="no embeddings"),
        pytest.param((tensor("token_embd.weight", 64),), METADATA, id="embeddings without tokens"),
        pytest.param((tensor("token_embd.weight", 64, 1 << 30),), METADATA, id="too many tokens"),
        pytest.param((EMBEDDINGS, tensor("x", 8, kind=4)), METADATA, id="an unknown type"),
        pytest.param((EMBEDDINGS, tensor("x", 1 << 60, 1 << 60)), METADATA, id="a huge tensor"),
        pytest.param((EMBEDDINGS, tensor("blk.1.x", 8)), METADATA, id="a layer too many"),
        pytest.param((EMBEDDINGS, tensor("blk.-1.x", 8)), METADATA, id="a negative layer"),
        pytest.param((EMBEDDINGS, tensor("blk.²2.x", 8)), METADATA, id="another digit"),
        pytest.param((EMBEDDINGS,), {**METADATA, "llama.attention.head_count_kv": 2**63}, id="a huge number"),
    ],
)
def test_what_is_absurd_has_no_shape(tensors: tuple[Tensor, ...], metadata: Mapping[str, Value]) -> None:
    assert read_shape([header(*tensors, metadata=metadata)]) is None


def test_a_described_file_has_its_shape() -> None:
    info = describe_file(DEMO, reference="demo", source="bundled")

    assert info.shape is not None
    assert (info.shape.architecture, len(info.shape.layers)) == ("llama", info.layers)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_outlives_json(name: str, tmp_path: Path) -> None:
    write_sparse(to_model(SHAPES[name]), tmp_path / "sparse.gguf")
    shape = read_shape([read_header(tmp_path / "sparse.gguf")])
    assert shape is not None

    assert shape_from_json(json.loads(json.dumps(shape_to_json(shape)))) == shape


SHAPE = ModelShape(architecture="llama", kinds=(LayerShape(attention=(("F32", 4),)),), order=(0,), width=64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("architecture", None, id="no architecture"),
        pytest.param("is_tied", 1, id="a number instead of yes"),
        pytest.param("kinds", [{}], id="a layer without numbers"),
        pytest.param("kinds", None, id="no layers"),
        pytest.param("order", [], id="no order"),
        pytest.param("order", [1], id="a layer that is not there"),
        pytest.param("order", [0] * 513, id="too many layers"),
        pytest.param("width", -1, id="negative"),
        pytest.param("width", True, id="yes instead of a number"),
        pytest.param("width", 1 << 63, id="too large"),
        pytest.param("width", "64", id="a text"),
        pytest.param("input", [["F32"]], id="no size"),
        pytest.param("input", [["F99", 4]], id="no type"),
        pytest.param("input", [[[], 4]], id="a list instead of a type"),
        pytest.param("extra", 1, id="more than a shape has"),
    ],
)
def test_other_json_is_no_shape(name: str, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for nobody
        shape_from_json({**shape_to_json(SHAPE), name: value})


def test_a_list_is_no_shape() -> None:
    with pytest.raises(ValueError, match="ModelShape"):
        shape_from_json([1])


def test_layers_are_in_the_order_of_the_model() -> None:
    other = LayerShape(attention=(("F32", 8),))
    shape = replace(SHAPE, kinds=(*SHAPE.kinds, other), order=(1, 0, 1))

    assert shape.layers == (other, SHAPE.kinds[0], other)


NUMBERS = st.one_of(
    st.integers(-1, 1 << 64), st.sampled_from([0, 1, 2, 64, 1 << 24]), st.booleans(), st.text(max_size=2)
)
NAMES = (
    "block_count embedding_length feed_forward_length expert_count expert_used_count nextn_predict_layers "
    "attention.head_count attention.head_count_kv attention.key_length attention.value_length_swa "
    "attention.shared_kv_layers attention.sliding_window attention.sliding_window_pattern ssm.conv_kernel "
    "ssm.inner_size ssm.state_size wkv.head_size kda.head_dim shortconv.l_cache"
).split()


@given(
    st.sampled_from(["llama", "gemma3", "gemma3n", "gemma4", "mamba"]),
    st.dictionaries(st.sampled_from(NAMES), st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3).map(tuple))),
)
def test_any_numbers_make_a_shape_that_can_be_planned_or_none(architecture: str, values: dict[str, Value]) -> None:
    metadata: dict[str, Value] = {"general.architecture": architecture, f"{architecture}.block_count": 2}
    metadata |= {f"{architecture}.{name}": value for name, value in values.items()}
    tensors = [tensor("blk.0.attn_k.weight", 64), tensor("blk.1.ssm_in.weight", 64)]

    shape = read_shape([header(EMBEDDINGS, *tensors, metadata=metadata)])

    assert shape is None or shape_from_json(shape_to_json(shape)) == shape
    assert shape is None or estimate(shape, PlanSettings(context=512), HOST).needed > 0
