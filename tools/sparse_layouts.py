"""The tensors and keys of models, from their sizes: one function for each layout of a layer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from localllm_magics.engines.sparse_gguf import SparseModel, SparseTensor, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The numbers of a model that `to_model` makes a file of.

    Args:
        head: Elements of a head.
        inner: Elements of a feed-forward layer, or of one expert.
        type: The ggml type of the matrices.
        tied: Without an output matrix.
        keys: More keys of the architecture.
    """

    architecture: str
    layers: int
    width: int
    inner: int = 0
    heads: int = 0
    kv_heads: int = 0
    head: int = 128
    vocabulary: int = 32_000
    experts: int = 0
    used: int = 0
    context: int = 131_072
    type: str = "Q4_0"
    tied: bool = False
    keys: Mapping[str, Value] = field(default_factory=dict)


def to_model(shape: Shape) -> SparseModel:
    """A file of SHAPE, without a tokenizer."""
    name = shape.architecture
    keys: dict[str, Value] = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 5e5,
    }
    if shape.inner:
        keys["feed_forward_length"] = shape.inner
    if shape.heads:
        keys |= {
            "attention.head_count": shape.heads,
            "attention.head_count_kv": shape.kv_heads,
            "attention.key_length": shape.head,
            "attention.value_length": shape.head,
            "rope.dimension_count": shape.head,
        }
    if shape.experts:
        keys |= {"expert_count": shape.experts, "expert_used_count": shape.used}
        keys["expert_feed_forward_length"] = shape.inner
    keys |= shape.keys
    metadata: dict[str, Value] = {"general.architecture": name, "general.name": name}
    return SparseModel(
        metadata=metadata | {f"{name}.{key}": value for key, value in keys.items()},
        tensors=tuple(_tensors(shape, keys)),
        vocabulary=shape.vocabulary,
    )


Matrix = Callable[..., SparseTensor]


def _tensors(shape: Shape, keys: Mapping[str, Value]) -> Iterator[SparseTensor]:
    width = shape.width
    yield SparseTensor(name="token_embd.weight", dims=(width, shape.vocabulary), type=shape.type)
    if not shape.tied:
        yield SparseTensor(name="output.weight", dims=(width, shape.vocabulary), type=shape.type)
    yield SparseTensor(name=_NORMS.get(shape.architecture, "output_norm.weight"), dims=(width,))
    if shape.architecture == "rwkv7":
        yield SparseTensor(name="output_norm.bias", dims=(width,))
        yield SparseTensor(name="token_embd_norm.weight", dims=(width,))
        yield SparseTensor(name="token_embd_norm.bias", dims=(width,))
    for layer in range(shape.layers):
        for tensor in _LAYERS.get(shape.architecture, _transformer)(shape, keys, layer):
            yield replace(tensor, name=f"blk.{layer}.{tensor.name}")


_NORMS = {"lfm2": "token_embd_norm.weight"}
Layer = Callable[[Shape, Mapping[str, Value], int], Iterator[SparseTensor]]


def _vector(name: str, *dims: int) -> SparseTensor:
    return SparseTensor(
        name=name if name.endswith(".bias") or name in {"ssm_a", "ssm_d"} else f"{name}.weight", dims=dims
    )


def _matrix(shape: Shape, name: str, *dims: int) -> SparseTensor:
    return SparseTensor(name=f"{name}.weight", dims=dims, type=shape.type)


def _attention(shape: Shape, heads: int, kv_heads: int) -> Iterator[SparseTensor]:
    width, head = shape.width, shape.head
    yield _matrix(shape, "attn_q", width, heads * head)
    yield _matrix(shape, "attn_k", width, kv_heads * head)
    yield _matrix(shape, "attn_v", width, kv_heads * head)
    yield _matrix(shape, "attn_output", heads * head, width)


def _feed_forward(shape: Shape, inner: int, suffix: str = "", *experts: int) -> Iterator[SparseTensor]:
    for name in ("ffn_gate", "ffn_up"):
        yield _matrix(shape, name + suffix, shape.width, inner, *experts)
    yield _matrix(shape, "ffn_down" + suffix, inner, shape.width, *experts)


def _transformer(shape: Shape, _keys: Mapping[str, Value], _layer: int) -> Iterator[SparseTensor]:
    name, width = shape.architecture, shape.width
    yield _vector("attn_norm", width)
    yield from _attention(shape, shape.heads, shape.kv_heads)
    if name == "qwen2":
        yield _vector("attn_q.bias", width)
        yield _vector("attn_k.bias", shape.kv_heads * shape.head)
        yield _vector("attn_v.bias", shape.kv_heads * shape.head)
    if name in {"qwen3", "qwen3moe", "gemma3"}:
        yield _vector("attn_q_norm", shape.head)
        yield _vector("attn_k_norm", shape.head)
    if name in {"gemma2", "gemma3"}:
        yield _vector("post_attention_norm", width)
        yield _vector("post_ffw_norm", width)
    if name == "gpt-oss":
        yield from _gpt_oss(shape)
    else:
        yield _vector("ffn_norm", width)
    if shape.experts:
        yield _vector("ffn_gate_inp", width, shape.experts)
        yield from _feed_forward(shape, shape.inner, "_exps", shape.experts)
    else:
        yield from _feed_forward(shape, shape.inner)


def _gpt_oss(shape: Shape) -> Iterator[SparseTensor]:
    width, query, cache = shape.width, shape.heads * shape.head, shape.kv_heads * shape.head
    yield _vector("post_attention_norm", width)
    yield _vector("attn_sinks", shape.heads)
    for name, size in (("attn_q", query), ("attn_k", cache), ("attn_v", cache), ("attn_output", width)):
        yield _vector(f"{name}.bias", size)
    yield _vector("ffn_gate_inp.bias", shape.experts)
    for name, size in (("gate", shape.inner), ("up", shape.inner), ("down", width)):
        yield _vector(f"ffn_{name}_exps.bias", size, shape.experts)


def _deepseek(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    width, heads = shape.width, shape.heads
    latent, rope, query_rank, dense = (
        int(str(keys.get(key, 0)))
        for key in (
            "attention.kv_lora_rank",
            "rope.dimension_count",
            "attention.q_lora_rank",
            "leading_dense_block_count",
        )
    )
    key, value = int(str(keys["attention.key_length_mla"])), int(str(keys["attention.value_length_mla"]))
    yield _vector("attn_norm", width)
    if query_rank:
        yield _vector("attn_q_a_norm", query_rank)
        yield _matrix(shape, "attn_q_a", width, query_rank)
        yield _matrix(shape, "attn_q_b", query_rank, heads * key)
    else:
        yield _matrix(shape, "attn_q", width, heads * key)
    yield _vector("attn_kv_a_norm", latent)
    yield _matrix(shape, "attn_kv_a_mqa", width, latent + rope)
    yield _matrix(shape, "attn_k_b", key - rope, latent, heads)
    yield _matrix(shape, "attn_v_b", latent, value, heads)
    yield _matrix(shape, "attn_output", heads * value, width)
    yield _vector("ffn_norm", width)
    if layer < dense:
        yield from _feed_forward(shape, int(str(keys["feed_forward_length"])))
        return
    yield _vector("ffn_gate_inp", width, shape.experts)
    yield from _feed_forward(shape, shape.inner, "_exps", shape.experts)
    yield from _feed_forward(shape, shape.inner * int(str(keys["expert_shared_count"])), "_shexp")


def _state(shape: Shape, keys: Mapping[str, Value]) -> Iterator[SparseTensor]:
    """Mamba's second version."""
    kernel, inner, state, groups, heads = (int(str(keys[f"ssm.{name}"])) for name in _STATE_KEYS)
    convolved = inner + 2 * groups * state
    yield _matrix(shape, "ssm_in", shape.width, inner + convolved + heads)
    yield _vector("ssm_conv1d", kernel, convolved)
    yield _vector("ssm_conv1d.bias", convolved)
    yield _vector("ssm_dt.bias", heads)
    yield _vector("ssm_a", 1, heads)
    yield _vector("ssm_d", 1, heads)
    yield _vector("ssm_norm", inner // groups, groups)
    yield _matrix(shape, "ssm_out", inner, shape.width)


_STATE_KEYS = ("conv_kernel", "inner_size", "state_size", "group_count", "time_step_rank")


def _mamba(shape: Shape, keys: Mapping[str, Value], _layer: int) -> Iterator[SparseTensor]:
    kernel, inner, state, _, rank = (int(str(keys.get(f"ssm.{name}", 0))) for name in _STATE_KEYS)
    yield _vector("attn_norm", shape.width)
    yield _matrix(shape, "ssm_in", shape.width, 2 * inner)
    yield _vector("ssm_conv1d", kernel, inner)
    yield _vector("ssm_conv1d.bias", inner)
    yield _matrix(shape, "ssm_x", inner, rank + 2 * state)
    yield _matrix(shape, "ssm_dt", rank, inner)
    yield _vector("ssm_dt.bias", inner)
    yield _vector("ssm_a", state, inner)
    yield _vector("ssm_d", inner)
    yield _matrix(shape, "ssm_out", inner, shape.width)


def _falcon(shape: Shape, keys: Mapping[str, Value], _layer: int) -> Iterator[SparseTensor]:
    """Attention and a recurrent state in each layer."""
    yield _vector("attn_norm", shape.width)
    yield from _state(shape, keys)
    yield from _attention(shape, shape.heads, shape.kv_heads)
    yield SparseTensor(name="ffn_norm", dims=(shape.width,))
    yield from _feed_forward(shape, shape.inner)


def _granite(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    """Attention in some layers, a recurrent state in the others."""
    counts = keys["attention.head_count_kv"]
    assert isinstance(counts, list)
    yield _vector("attn_norm", shape.width)
    yield from _attention(shape, shape.heads, int(str(counts[layer]))) if counts[layer] else _state(shape, keys)
    yield _vector("ffn_norm", shape.width)
    if not shape.experts:
        yield from _feed_forward(shape, shape.inner)
        return
    yield _vector("ffn_gate_inp", shape.width, shape.experts)
    yield from _feed_forward(shape, shape.inner, "_exps", shape.experts)
    yield from _feed_forward(shape, int(str(keys["expert_shared_feed_forward_length"])), "_shexp")


def _jamba(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    """Mamba's first version, attention in some layers, experts in every second."""
    counts = keys["attention.head_count_kv"]
    assert isinstance(counts, list)
    _, _, state, _, rank = (int(str(keys.get(f"ssm.{name}", 0))) for name in _STATE_KEYS)
    if counts[layer]:
        yield _vector("attn_norm", shape.width)
        yield from _attention(shape, shape.heads, int(str(counts[layer])))
    else:
        yield from _mamba(shape, keys, layer)
        for name, size in (("dt", rank), ("b", state), ("c", state)):
            yield _vector(f"ssm_{name}_norm", size)
    yield _vector("ffn_norm", shape.width)
    if layer % 2:
        yield _vector("ffn_gate_inp", shape.width, shape.experts)
        yield from _feed_forward(shape, shape.inner, "_exps", shape.experts)
    else:
        yield from _feed_forward(shape, shape.inner)


def _qwen_next(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    """A gated delta net in three of four layers, gated attention in the fourth."""
    width = shape.width
    kernel, inner, state, groups, heads = (int(str(keys[f"ssm.{name}"])) for name in _STATE_KEYS)
    yield _vector("attn_norm", width)
    yield _vector("post_attention_norm", width)
    if layer % 4 == 3:
        yield _matrix(shape, "attn_q", width, 2 * shape.heads * shape.head)
        yield from list(_attention(shape, shape.heads, shape.kv_heads))[1:]
        yield _vector("attn_q_norm", shape.head)
        yield _vector("attn_k_norm", shape.head)
    else:
        convolved = 2 * groups * state + inner
        yield _matrix(shape, "attn_qkv", width, convolved)
        yield _matrix(shape, "attn_gate", width, inner)
        yield _vector("ssm_conv1d", kernel, convolved)
        yield _vector("ssm_dt.bias", heads)
        yield _vector("ssm_a", heads)
        yield _matrix(shape, "ssm_ba", width, 2 * heads)
        yield _vector("ssm_norm", state)
        yield _matrix(shape, "ssm_out", inner, width)
    yield _vector("ffn_gate_inp", width, shape.experts)
    yield from _feed_forward(shape, shape.inner, "_exps", shape.experts)
    yield _vector("ffn_gate_inp_shexp", width)
    yield from _feed_forward(shape, int(str(keys["expert_shared_feed_forward_length"])), "_shexp")


def _lfm(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    """Attention in some layers, a short convolution in the others."""
    width, counts = shape.width, keys["attention.head_count_kv"]
    assert isinstance(counts, list)
    yield _vector("attn_norm", width)
    if counts[layer]:
        yield from _attention(shape, shape.heads, int(str(counts[layer])))
        yield _vector("attn_q_norm", shape.head)
        yield _vector("attn_k_norm", shape.head)
    else:
        yield _vector("shortconv.conv", int(str(keys["shortconv.l_cache"])), width)
        yield _matrix(shape, "shortconv.in_proj", width, 3 * width)
        yield _matrix(shape, "shortconv.out_proj", width, width)
    yield _vector("ffn_norm", width)
    yield from _feed_forward(shape, shape.inner)


def _rwkv(shape: Shape, keys: Mapping[str, Value], layer: int) -> Iterator[SparseTensor]:
    """RWKV's seventh version."""
    width = shape.width
    decay, rate, mix, gate = (int(str(keys[f"attention.{name}_lora_rank"])) for name in _RANKS)
    for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
        yield _vector(name, width)
        yield SparseTensor(name=f"{name}.bias", dims=(width,))
    for name, rank in (("w", decay), ("a", rate), ("v", mix if layer else rate)):
        yield _vector(f"time_mix_{name}0", width)
        yield _vector(f"time_mix_{name}1", width, rank)
        yield _vector(f"time_mix_{name}2", rank, width)
    yield _vector("time_mix_g1", width, gate)
    yield _vector("time_mix_g2", gate, width)
    yield _vector("time_mix_lerp_fused", width, 1, 1, 6)
    for name in ("k_k", "k_a", "r_k"):
        yield _vector(f"time_mix_{name}", width)
    for name in ("key", "value", "receptance", "output"):
        yield _matrix(shape, f"time_mix_{name}", width, width)
    yield _vector("channel_mix_lerp_k", width, 1, 1)
    yield _matrix(shape, "channel_mix_key", width, shape.inner)
    yield _matrix(shape, "channel_mix_value", shape.inner, width)


_RANKS = ("decay", "iclr", "value_residual_mix", "gate")


_LAYERS: Mapping[str, Layer] = {
    "deepseek2": _deepseek,
    "falcon-h1": _falcon,
    "granitehybrid": _granite,
    "jamba": _jamba,
    "lfm2": _lfm,
    "mamba": _mamba,
    "qwen3next": _qwen_next,
    "rwkv7": _rwkv,
}
