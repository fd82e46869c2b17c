"""The bundled model without an end: it goes on until its context is full."""

from pathlib import Path

from gguf import GGUFReader

from localllm_magics import demo

RANDOM = "-t 3 --top-k 8 --top-p 1 --min-p 0 --seed 1"
"""Options of an answer that has no end, whatever its words are."""

_ENDS = {b"'<|im_end|>'": b"'~~im_end~~'", b"<|im_end|>": b"<|im_go_|>", b"<|endoftext|>": b"<|beginning|>"}
"""What the template writes behind an answer, tokens that llama.cpp takes for ends, and others of the same length."""
_NEVER = "\u0105"
"""The byte 5, which no training text has: in thousands of tokens it never came near the likeliest hundred."""


def write_endless_model(path: Path) -> Path:
    """Write it to PATH."""
    data = demo.PATH.read_bytes()
    for end, name in _ENDS.items():
        data = data.replace(end, name)
    path.write_bytes(data)
    reader = GGUFReader(path, "r+")
    never = reader.fields["tokenizer.ggml.tokens"].contents().index(_NEVER)
    for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"):
        field = reader.fields[key]
        field.parts[field.data[0]][0] = never
    return path
