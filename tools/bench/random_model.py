"""Models of a real shape with random weights: speed depends on the shape, not on the values."""

import os
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from tools.bench.vocabulary import BOS, CHATML, END_OF_TURN, Tokenizer, vocabulary

_VERSION = 1  # of this generator: another one makes other files
_BLOCK = 32  # weights in a block of Q4_0: one scale and 16 bytes
_SPREAD = 0.02  # standard deviation of the weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a qwen2 model."""

    name: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    context: int


HALF_BILLION = Shape(name="qwen2-0.5b-random", layers=24, width=896, inner=4864, heads=14, kv_heads=2, context=32_768)
TINY = Shape(name="qwen2-tiny-random", layers=4, width=256, inner=768, heads=4, kv_heads=2, context=8192)


def default_folder() -> Path:
    """Where generated models are kept."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "localllm-magics" / "bench"


def random_model(shape: Shape, folder: Path) -> Path:
    """The GGUF file of SHAPE in FOLDER, written if it is not there."""
    path = folder / f"{shape.name}-q4_0-v{_VERSION}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        _write(shape, part)
        part.replace(path)
    return path


def _write(shape: Shape, path: Path) -> None:
    words = vocabulary()
    writer = GGUFWriter(path, "qwen2")
    _add_metadata(writer, shape, words)
    _add_tensors(writer, shape, words)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_metadata(writer: GGUFWriter, shape: Shape, words: Tokenizer) -> None:
    writer.add_name(shape.name)
    writer.add_description("Random weights, for measuring speed only.")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.id(BOS))
    writer.add_eos_token_id(words.id(END_OF_TURN))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def _add_tensors(writer: GGUFWriter, shape: Shape, words: Tokenizer) -> None:
    random = np.random.default_rng(0)
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads

    def matrix(name: str, rows: int, columns: int, *, zero_from: int | None = None) -> None:
        data = _random_q4_0(random, rows, columns, zero_from=zero_from)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=GGMLQuantizationType.Q4_0)

    def vector(name: str, size: int, value: float) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    # Token rows serve for the output as well. Those of special tokens are zero, and so are their logits:
    # far below the best of 150,000 random ones. So no answer ends before its last token is asked for.
    matrix("token_embd", len(words.tokens), width, zero_from=words.first_special)
    vector("output_norm.weight", width, 1.0)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        vector(f"{block}attn_norm.weight", width, 1.0)
        vector(f"{block}ffn_norm.weight", width, 1.0)
        for name, size in (("q", width), ("k", kv_width), ("v", kv_width)):
            matrix(f"{block}attn_{name}", size, width)
            vector(f"{block}attn_{name}.bias", size, 0.0)
        matrix(f"{block}attn_output", width, width)
        matrix(f"{block}ffn_gate", shape.inner, width)
        matrix(f"{block}ffn_up", shape.inner, width)
        matrix(f"{block}ffn_down", width, shape.inner)


def _random_q4_0(random: np.random.Generator, rows: int, columns: int, *, zero_from: int | None) -> NDArray[np.uint8]:
    """Blocks of Q4_0 whose weights are spread evenly round zero; zero from a row on."""
    nibbles = np.arange(1, 16, dtype=np.uint8)  # 8 stands for 0, so without 0 they are symmetric
    both = (nibbles[:, None] << 4 | nibbles).ravel()
    blocks = np.empty((rows, columns // _BLOCK, 2 + _BLOCK // 2), np.uint8)
    scale = np.float16(_SPREAD / np.std(nibbles.astype(np.float32)))
    blocks[..., :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[..., 2:] = both[random.integers(0, len(both), blocks[..., 2:].shape, np.uint8)]
    if zero_from is not None:
        blocks[zero_from:, :, :2] = 0
    assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType.Q4_0] == (_BLOCK, blocks.shape[-1])
    return blocks.reshape(rows, -1)
