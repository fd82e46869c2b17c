"""Files that are no whole models: cut off, overwritten, with impossible numbers, of other kinds."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.catalog.gguf_files import raw_array, raw_gguf, raw_key, raw_string, raw_tensor

_NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_STARTS = (b"", b"GGUF", b"PK\x03\x04", b"\x7fELF", b"{", b"<html>", b"lmgg", b"MZqFpD", b"\0" * 600)


def broken_files(model: Path, count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """COUNT files, each with a name, most of them made of MODEL."""
    chance, whole = random.Random(seed), model.read_bytes()  # noqa: S311 - the same files on every run are the point
    header = whole[: _header_size(whole)]
    makers = (_cut, _overwritten, _with_a_number, _shuffled, _made_up, _of_another_kind)
    for number in range(count):
        data = makers[number % len(makers)](header, whole, chance)
        suffix = chance.choice(("gguf", "gguf", "gguf", "llamafile", "gguf.part"))
        part = chance.choice(("", "", "", "-00001-of-00002", "-00002-of-99999", "-00000-of-00000"))
        yield f"{number:05}{part}.{suffix}", data


def _header_size(whole: bytes) -> int:
    return min(len(whole), 200_000)


def _cut(header: bytes, whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(chance.choice((64, len(header), len(whole))))]


def _overwritten(header: bytes, _whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(header)
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _with_a_number(header: bytes, _whole: bytes, chance: random.Random) -> bytes:
    """A length, a count or an offset that cannot be right: most of those in a header have eight bytes."""
    data = bytearray(header)
    at = chance.choice((8, 16, chance.randrange(24, 2000), chance.randrange(24, len(header) - 8)))
    data[at : at + 8] = struct.pack("<Q", chance.choice(_NUMBERS))
    return bytes(data)


def _shuffled(header: bytes, _whole: bytes, chance: random.Random) -> bytes:
    middle = chance.randrange(24, len(header))
    return header[:24] + header[middle:] + header[24:middle]


def _made_up(_header: bytes, _whole: bytes, chance: random.Random) -> bytes:
    """A header that is well formed and says absurd things."""
    key = raw_key(
        chance.choice(("general.architecture", "llama.block_count", "general.alignment", "x" * 70_000)),
        chance.randrange(14),
        raw_string(chance.choice(("llama", "\x1b[2J", ""))),
    )
    number = raw_key("llama.block_count", 10, struct.pack("<Q", chance.choice(_NUMBERS)))
    array = raw_array("tokenizer.ggml.tokens", 8, chance.choice(_NUMBERS), raw_string("a") * 100)
    dims = [chance.choice(_NUMBERS) for _ in range(chance.randrange(6))]
    tensor = raw_tensor("blk.0.attn_q.weight", dims, chance.choice((0, 12, 99)), chance.choice(_NUMBERS))
    counts = (chance.choice(_NUMBERS), chance.choice(_NUMBERS)) if chance.random() < 0.3 else None
    architecture = raw_key("general.architecture", 8, raw_string("llama"))
    keys = chance.sample([architecture, key, number, array], chance.randrange(5))
    return raw_gguf(
        keys, [tensor] * chance.randrange(3), version=chance.choice((0, 1, 2, 3, 3, 3, 1 << 24)), counts=counts
    )


def _of_another_kind(_header: bytes, _whole: bytes, chance: random.Random) -> bytes:
    return chance.choice(_STARTS) + chance.randbytes(chance.randrange(2000))
