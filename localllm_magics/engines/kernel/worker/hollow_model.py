"""A GGUF file whose weights are all zero: a header and a hole, which takes no room on the disk.

How fast a model computes depends on its sizes and types, not on its values.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.tensor_type import TensorType, tensor_type

_ALIGNMENT = 32
_UINT32, _FLOAT32, _STRING = 4, 6, 8  # types of values, see gguf.h
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


def layer_bytes(lib: Library, shape: HollowShape) -> tuple[int, int]:
    """Bytes of the matrices of a layer, and of its feed-forward ones.

    Raises:
        ValueError: LIB does not know its type.
    """
    kind = _type(lib, shape.type)
    sizes = {name: kind.size(prod(dimensions)) for name, dimensions in shape.matrices.items()}
    return sum(sizes.values()), sum(size for name, size in sizes.items() if name.startswith("ffn"))


def write_hollow_model(lib: Library, shape: HollowShape, path: Path) -> None:
    """Write the model of SHAPE to PATH.

    Raises:
        ValueError: LIB does not know its type.
    """
    tensors, size = b"", 0
    placed = list(_tensors(lib, shape))
    for name, dimensions, kind in placed:
        tensors += _string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind.id, size)
        size += _padded(kind.size(prod(dimensions)))
    values = _values(shape)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(placed), len(values)) + b"".join(values) + tensors
    with path.open("wb") as file:
        file.write(header)
        file.truncate(_padded(len(header)) + size)


def _values(shape: HollowShape) -> list[bytes]:
    numbers = {
        "context_length": shape.context,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.inner_width,
        "attention.head_count": shape.width // shape.head_width,
        "attention.head_count_kv": shape.kv_width // shape.head_width,
        "rope.dimension_count": shape.head_width,
        "vocab_size": shape.vocabulary,
    }
    if shape.experts:
        numbers |= {"expert_count": shape.experts, "expert_used_count": shape.experts}
    return [
        _string("general.architecture") + struct.pack("<I", _STRING) + _string("llama"),
        _string("tokenizer.ggml.model") + struct.pack("<I", _STRING) + _string("none"),
        _string("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _FLOAT32, _NORM_EPSILON),
        *(_string(f"llama.{name}") + struct.pack("<II", _UINT32, number) for name, number in numbers.items()),
    ]


def _tensors(lib: Library, shape: HollowShape) -> Iterator[tuple[str, tuple[int, ...], TensorType]]:
    """Name, dimensions and type of each."""
    plain, kind = _type(lib, "F32"), _type(lib, shape.type)
    yield "token_embd.weight", (shape.width, shape.vocabulary), kind
    yield "output_norm.weight", (shape.width,), plain
    for layer in range(shape.layers):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (shape.width,), plain
        if shape.experts:
            yield f"blk.{layer}.ffn_gate_inp.weight", (shape.width, shape.experts), plain
        for name, dimensions in shape.matrices.items():
            yield f"blk.{layer}.{name}.weight", dimensions, kind


def _type(lib: Library, name: str) -> TensorType:
    kind = tensor_type(lib, name)
    if kind is None:
        raise ValueError(name)
    return kind


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
