"""GGUF files of real shapes that take no disk: all of the header, and a hole where the tensors would be.

A planner reads such a file as it reads a real one; loaded, it computes with zeros.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from pathlib import Path

from localllm_magics.catalog.gguf import GGML_TYPES

Value = int | float | bool | str | Sequence[int] | Sequence[bool] | Sequence[float] | Sequence[str]
_TYPES = {name: number for number, (name, _, _) in GGML_TYPES.items()}
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseTensor:
    """A tensor without data.

    Args:
        dims: Elements, the innermost dimension first, as in a file.
        type: The name of its ggml type.
    """

    name: str
    dims: tuple[int, ...]
    type: str = "F32"

    @property
    def size_bytes(self) -> int:
        """What it would take."""
        _, block, size = GGML_TYPES[_TYPES[self.type]]
        return prod(self.dims) // block * size


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseModel:
    """A model without data.

    Args:
        metadata: The keys of the file, without the tokenizer's.
        vocabulary: Tokens; a file without a tokenizer says only how many there are.
    """

    metadata: Mapping[str, Value]
    tensors: Sequence[SparseTensor]
    vocabulary: int = 0
    tokenizer: Mapping[str, Value] = field(default_factory=dict)


def write_sparse(model: SparseModel, path: Path) -> int:
    """Write MODEL to PATH; its apparent size in bytes."""
    sizes = [-(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT for tensor in model.tensors]
    keys = dict(model.metadata) | dict(model.tokenizer or _no_tokenizer(model))
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(sizes), len(keys)))
        for key, value in keys.items():
            file.write(_string(key) + _value(value))
        for tensor, offset in zip(model.tensors, accumulate(sizes, initial=0), strict=False):
            form = f"<I{len(tensor.dims)}QIQ"
            numbers = (len(tensor.dims), *tensor.dims, _TYPES[tensor.type], offset)
            file.write(_string(tensor.name) + struct.pack(form, *numbers))
        header = file.tell()
    size = -(-header // _ALIGNMENT) * _ALIGNMENT + sum(sizes)
    os.truncate(path, size)
    return size


def _no_tokenizer(model: SparseModel) -> Mapping[str, Value]:
    return {
        "tokenizer.ggml.model": "no_vocab",
        f"{model.metadata['general.architecture']}.vocab_size": model.vocabulary,
    }


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    kind, data = _typed(value)
    return struct.pack("<I", kind) + data


def _typed(value: Value) -> tuple[int, bytes]:
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, _string(value)
        case _:
            items = [_typed(item) for item in value]
            kind = items[0][0] if items else 8
            kind = 5 if kind == 4 else kind  # llama.cpp takes token types only with a sign
            return 9, struct.pack("<IQ", kind, len(items)) + b"".join(data for _, data in items)
