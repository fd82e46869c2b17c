"""A model whose weights are all zero: how fast it computes depends on its sizes and types, not on its values."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from localllm_magics.core.ggml_types import TENSOR_TYPES
from localllm_magics.engines.sparse_gguf import SparseModel, SparseTensor, Value

_NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class HollowShape:
    """The sizes of a model of the `llama` architecture, whose output is its token embedding.

    Args:
        type: Of its matrices.
        kv_width: Elements of a key, and of a value.
        experts: In a layer, all of them used for each token; 0 is a dense one.
    """

    type: str
    width: int
    inner_width: int
    layers: int = 1
    head_width: int = 64
    kv_width: int = 128
    vocabulary: int = 256
    context: int = 4096
    experts: int = 0

    @property
    def matrices(self) -> dict[str, tuple[int, ...]]:
        """The matrices of a layer: columns and rows, and of experts how many."""
        experts = (self.experts,) if self.experts else ()
        suffix = "_exps" if experts else ""
        return {
            "attn_q": (self.width, self.width),
            "attn_k": (self.width, self.kv_width),
            "attn_v": (self.width, self.kv_width),
            "attn_output": (self.width, self.width),
            f"ffn_gate{suffix}": (self.width, self.inner_width, *experts),
            f"ffn_up{suffix}": (self.width, self.inner_width, *experts),
            f"ffn_down{suffix}": (self.inner_width, self.width, *experts),
        }


def layer_bytes(shape: HollowShape) -> tuple[int, int]:
    """Bytes of the matrices of a layer, and of its feed-forward ones."""
    kind = TENSOR_TYPES[shape.type]
    sizes = {name: kind.size(prod(dimensions)) for name, dimensions in shape.matrices.items()}
    return sum(sizes.values()), sum(size for name, size in sizes.items() if name.startswith("ffn"))


def hollow_model(shape: HollowShape) -> SparseModel:
    """The model of SHAPE, for `write_sparse`."""
    numbers: dict[str, Value] = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.inner_width,
        "attention.head_count": shape.width // shape.head_width,
        "attention.head_count_kv": shape.kv_width // shape.head_width,
        "attention.layer_norm_rms_epsilon": _NORM_EPSILON,
        "rope.dimension_count": shape.head_width,
    }
    if shape.experts:
        numbers |= {"expert_count": shape.experts, "expert_used_count": shape.experts}
    metadata: dict[str, Value] = {f"llama.{name}": value for name, value in numbers.items()}
    tensors = tuple(_tensors(shape))
    return SparseModel(
        metadata={"general.architecture": "llama", **metadata}, tensors=tensors, vocabulary=shape.vocabulary
    )


def _tensors(shape: HollowShape) -> Iterator[SparseTensor]:
    yield SparseTensor(name="token_embd.weight", dims=(shape.width, shape.vocabulary), type=shape.type)
    yield SparseTensor(name="output_norm.weight", dims=(shape.width,))
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            yield SparseTensor(name=f"blk.{layer}.{name}.weight", dims=(shape.width,))
        if shape.experts:
            yield SparseTensor(name=f"blk.{layer}.ffn_gate_inp.weight", dims=(shape.width, shape.experts))
        for name, dimensions in shape.matrices.items():
            yield SparseTensor(name=f"blk.{layer}.{name}.weight", dims=dimensions, type=shape.type)
