"""A model file with random weights, for what does not depend on its words.

Which words it says, and whether any, differs between CPUs: see tests/kernel/endless_model.py for one that talks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from localllm_magics import demo

Metadata = Mapping[str, str | int | bool | None]

LONG_WORD = 300
"""The number of a word that is longer than any in the field."""
_WIDTH, _INNER, _HEADS, _CONTEXT = 512, 1536, 8, 8192
_KINDS: dict[type, gguf.GGUFValueType] = {
    bool: gguf.GGUFValueType.BOOL,
    int: gguf.GGUFValueType.UINT32,
    str: gguf.GGUFValueType.STRING,
}
_TYPE = gguf.GGMLQuantizationType.Q8_0


def write_random_model(
    path: Path, metadata: Metadata | None = None, *, architecture: str = "llama", layers: int = 8
) -> Path:
    """Write a model to PATH, with the tokenizer of the bundled one, and METADATA on top; None leaves a key out."""
    writer = gguf.GGUFWriter(path, architecture)
    words = _copy_vocabulary(writer, metadata or {})
    writer.add_name("random")
    if f"{architecture}.context_length" not in (metadata or {}):
        writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_file_type(7)
    _add_tensors(writer, words, layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _copy_vocabulary(writer: gguf.GGUFWriter, metadata: Metadata) -> int:
    """Copy the bundled model's tokenizer; how many words it has."""
    fields: dict[str, Any] = gguf.GGUFReader(demo.PATH).fields
    words: list[str] = fields["tokenizer.ggml.tokens"].contents()
    words[LONG_WORD] = "x" * 1000
    for key, field in fields.items():
        if key.startswith("tokenizer.") and key not in metadata:
            value = words if key == "tokenizer.ggml.tokens" else field.contents()
            kind, inner = field.types[0], field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, value, kind, sub_type=inner)
    for key, value in metadata.items():
        if value is not None:
            writer.add_key_value(key, value, _KINDS[type(value)])
    return len(words)


def _add_tensors(writer: gguf.GGUFWriter, words: int, layers: int) -> None:
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        # Q8_0: blocks of a scale in half precision and 32 bytes.
        blocks = np.empty((rows, columns // 32), [("scale", np.float16), ("values", np.int8, 32)])
        blocks["scale"] = 0.0006
        blocks["values"] = random.integers(-127, 128, blocks["values"].shape, np.int8)
        writer.add_tensor(f"{name}.weight", blocks.view(np.uint8), raw_dtype=_TYPE)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))

    matrix("token_embd", words, _WIDTH)
    ones("output_norm")
    for layer in range(layers):
        block = f"blk.{layer}"
        ones(f"{block}.attn_norm")
        ones(f"{block}.ffn_norm")
        for name in ("q", "k", "v", "output"):
            matrix(f"{block}.attn_{name}", _WIDTH, _WIDTH)
        matrix(f"{block}.ffn_gate", _INNER, _WIDTH)
        matrix(f"{block}.ffn_up", _INNER, _WIDTH)
        matrix(f"{block}.ffn_down", _WIDTH, _INNER)
