"""GGUF files for tests: good ones by the gguf package, wrong ones byte by byte."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

DEMO = Path(__file__).parents[2] / "localllm_magics" / "demo" / "demo.gguf"
WEIGHTS = {"token_embd.weight": np.zeros((4, 32), np.float32)}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    metadata: Mapping[str, str | int | float | bool | Sequence[str] | Sequence[int]] | None = None,
    weights: Mapping[str, npt.NDArray[np.float32]] | None = None,
    quantization: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
) -> Path:
    """A file that llama.cpp's own tools would write."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (metadata or {}).items():
        add(writer, key, value)
    for name, weight in (WEIGHTS if weights is None else weights).items():
        writer.add_tensor(name, gguf.quants.quantize(weight, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: gguf.GGUFWriter, key: str, value: str | bool | float | Sequence[str] | Sequence[int]) -> None:
    """One key, with the type that its value has."""
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, value)


def raw_gguf(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A header made of parts that need not fit together; COUNTS are those of tensors and keys."""
    tensor_count, key_count = counts or (len(tensors), len(keys))
    start = b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count)
    return start + b"".join(keys) + b"".join(tensors)


def raw_string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def raw_key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return raw_string(name) + struct.pack("<I", kind) + value


def raw_array(name: str, kind: int, length: int, value: bytes) -> bytes:
    return raw_key(name, 9, struct.pack("<IQ", kind, length) + value)


def raw_tensor(name: str, dims: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return raw_string(name) + shape + struct.pack("<IQ", kind, offset)
