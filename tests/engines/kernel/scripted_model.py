"""A tiny model file that writes a script, token by token, whatever it is asked.

It has no attention: the last token alone decides the next one, so each token of the script is there once.
"""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

_NORMAL, _CONTROL = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
START = "<|go|>"
"""The token that the template has to end with."""
_END = "<|stop|>"
_HEAD = 32


def control(text: str) -> tuple[str, int]:
    """A control token of a script; TEXT alone is an ordinary one."""
    return text, _CONTROL


def write_scripted_model(
    path: Path, script: Sequence[str | bytes | tuple[str, int]], template: str, others: Sequence[str] = ()
) -> Path:
    """Write it to PATH.

    Args:
        path: A file that is not there yet.
        script: The tokens that it writes, before the end token.
        template: Its chat template, which ends with START.
        others: Control tokens that are in its vocabulary only.
    """
    tokens: dict[str, int] = {_spelled(bytes([byte])): _NORMAL for byte in range(256)}
    written = [START, *(_add(tokens, piece) for piece in script), _END]
    tokens |= dict.fromkeys([START, _END, *others], _CONTROL)
    tokens |= {f"<|unused{number}|>": _CONTROL for number in range(-len(tokens) % _HEAD)}
    places = {token: place for place, token in enumerate(tokens)}
    writer = gguf.GGUFWriter(path, "llama")
    _add_header(writer, len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(tokens))
    writer.add_token_types(list(tokens.values()))
    writer.add_token_merges([f"{_spelled(b'a')} {_spelled(b'b')}"])
    writer.add_eos_token_id(places[_END])
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    _add_tensors(writer, [places[token] for token in written], len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(tokens: dict[str, int], piece: str | bytes | tuple[str, int]) -> str:
    """The token of PIECE, which is added to TOKENS."""
    if isinstance(piece, tuple):
        tokens[piece[0]] = piece[1]
        return piece[0]
    spelled = _spelled(piece if isinstance(piece, bytes) else piece.encode())
    tokens.setdefault(spelled, _NORMAL)
    return spelled


def _spelled(data: bytes) -> str:
    """DATA in the letters of a byte-level vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return "".join(chr(byte if byte in shown else 256 + hidden.index(byte)) for byte in data)


def _add_header(writer: gguf.GGUFWriter, words: int) -> None:
    writer.add_name("scripted")
    writer.add_context_length(256)
    writer.add_embedding_length(words)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_HEAD)
    writer.add_head_count(words // _HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_vocab_size(words)


def _add_tensors(writer: gguf.GGUFWriter, written: list[int], words: int) -> None:
    follows = np.zeros((words, words), np.float32)
    follows[written[1:], written[:-1]] = 10.0
    matrices: dict[str, npt.NDArray[np.float32]] = {"token_embd": np.eye(words, dtype=np.float32), "output": follows}
    matrices |= {f"blk.0.attn_{name}": np.zeros((words, words), np.float32) for name in ("q", "k", "v", "output")}
    matrices |= {f"blk.0.ffn_{name}": np.zeros((_HEAD, words), np.float32) for name in ("gate", "up")}
    matrices["blk.0.ffn_down"] = np.zeros((words, _HEAD), np.float32)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        matrices[name] = np.ones(words, np.float32)
    for name, matrix in matrices.items():
        writer.add_tensor(f"{name}.weight", matrix)
