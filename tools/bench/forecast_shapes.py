"""The models whose rates are forecast and measured: real shapes, quantized as llama.cpp's quantizer does."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from localllm_magics.engines.sparse_gguf import SparseModel, SparseTensor, write_sparse
from tools.sparse_layouts import Shape, to_model
from tools.sparse_shapes import SHAPES

_ALIGNMENT = 32
_BLOCK = 256  # weights in a block of a K-quant
_FALLBACK = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}  # for rows that are no multiple of that
_ROUTED = ("token_embd.weight", "ffn_gate_inp.weight")
QUANTIZATIONS = ("Q4_0", "Q4_K_M", "Q8_0", "F16")
FORECAST_SHAPES: Mapping[str, Shape] = {
    "smollm 0.13 B": Shape(
        architecture="llama",
        layers=30,
        width=576,
        inner=1536,
        heads=9,
        kv_heads=3,
        head=64,
        vocabulary=49_152,
        tied=True,
    ),
    "qwen2 0.5 B": SHAPES["qwen2-0.5b"],
    "qwen3 0.6 B": Shape(
        architecture="qwen3", layers=28, width=1024, inner=3072, heads=16, kv_heads=8, vocabulary=151_936, tied=True
    ),
    "qwen3moe 0.9 B": Shape(
        architecture="qwen3moe", layers=16, width=1024, inner=512, heads=16, kv_heads=4, experts=32, used=4
    ),
    "gemma3 1 B": replace(
        SHAPES["gemma3-4b"],
        layers=26,
        width=1152,
        inner=6912,
        heads=4,
        kv_heads=1,
        keys={"attention.sliding_window": 512},
    ),
    "tinyllama 1.1 B": Shape(architecture="llama", layers=22, width=2048, inner=5632, heads=32, kv_heads=4, head=64),
    "llama 1.2 B": SHAPES["llama-1b"],
}


def quantized(shape: Shape, quantization: str) -> SparseModel:
    """A file of SHAPE."""
    model = to_model(shape)
    tensors = tuple(
        replace(tensor, type=_type(tensor, shape, quantization)) if len(tensor.dims) > 1 else tensor
        for tensor in model.tensors
    )
    return replace(model, tensors=tensors)


def write(model: SparseModel, path: Path) -> None:
    """Write MODEL to PATH: zeros, but for what decides which experts compute."""
    data = write_sparse(model, path) - sum(map(_padded, model.tensors))
    if not any(tensor.name.endswith("_exps.weight") for tensor in model.tensors):
        return
    random = np.random.default_rng(0)
    with path.open("r+b") as file:
        for tensor, offset in zip(model.tensors, accumulate(map(_padded, model.tensors), initial=data), strict=False):
            if tensor.name.endswith(_ROUTED):
                kind = np.float16 if tensor.type == "F16" else np.float32
                file.seek(offset)
                file.write(random.standard_normal(tensor.dims, np.float32).astype(kind).tobytes())


def _padded(tensor: SparseTensor) -> int:
    return -(-tensor.size_bytes // _ALIGNMENT) * _ALIGNMENT


def _type(tensor: SparseTensor, shape: Shape, quantization: str) -> str:
    """What llama-quantize makes of a matrix; the router stays, and a model with experts has plain embeddings here."""
    name = tensor.name
    if name.endswith("ffn_gate_inp.weight"):
        return "F32"
    if name == "token_embd.weight" and shape.experts:
        return "F16"
    if quantization in ("Q8_0", "F16"):
        return quantization
    is_output = name == "output.weight" or (name == "token_embd.weight" and shape.tied)
    kind = "Q6_K" if is_output or (quantization == "Q4_K_M" and _has_more_bits(name, shape.layers)) else "Q4_K"
    if quantization == "Q4_0" and not is_output:
        return "Q4_0"
    return kind if tensor.dims[0] % _BLOCK == 0 else _FALLBACK[kind]


def _has_more_bits(name: str, layers: int) -> bool:
    if not name.startswith("blk.") or not any(part in name for part in ("attn_v", "ffn_down")):
        return False
    layer = int(name.split(".")[1])
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
