"""Llamafiles for tests, small and made at once."""

from pathlib import Path

from localllm_magics.engines.kernel.embedded_weights import (
    EmbeddedWeights,
)
from tests.server.llamafile_stand_in import Member, archive, head

GGUF = b"GGUF" + bytes(range(60))
NOWHERE = Path("/nowhere/llama-server")
HEAD = head(NOWHERE)


def write(path: Path, *members: Member) -> Path:
    path.write_bytes(HEAD + archive(members, start=len(HEAD)))
    return path


def model(name: str = "model.gguf", data: bytes = GGUF, **lies: int) -> Member:
    return Member(name=name, data=data, **lies)


def args(text: str) -> Member:
    return Member(name=".args", data=text.encode())


def bytes_at(path: Path, weights: EmbeddedWeights) -> bytes:
    return path.read_bytes()[weights.offset : weights.offset + weights.size]
