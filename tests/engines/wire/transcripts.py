"""Streams to decode: recorded ones, and ways to split any."""

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from localllm_magics.engines.wire.ndjson import Malformed

EXCHANGES = Path(__file__).parents[2] / "data" / "exchanges"
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

POSITIONS = st.lists(st.integers(0, 2000), max_size=8)
WHOLE = st.integers(-(2**70), 2**70)


class Decoder(Protocol[T_co]):
    def feed(self, data: bytes) -> Sequence[T_co]: ...

    def close(self) -> Sequence[T_co]: ...


def decode(decoder: Decoder[T], *pieces: bytes) -> list[T]:
    """All that DECODER makes of PIECES and their end."""
    return [*(item for piece in pieces for item in decoder.feed(piece)), *decoder.close()]


def one_by_one(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


def halves(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """BODY in two pieces, in every way, or in some two thousand ways if it is longer than that."""
    return ((body[:at], body[at:]) for at in range(0, len(body) + 1, 1 + len(body) // 2048))


def split(body: bytes, positions: list[int]) -> list[bytes]:
    """BODY in pieces that end at POSITIONS, which may lie behind its end or be the same."""
    bounds = [0, *sorted(positions), max(len(body), *positions, 0)]
    return [body[start:end] for start, end in pairwise(bounds)]


def without_last_malformed(items: list[T]) -> list[T]:
    return items[:-1] if items and isinstance(items[-1], Malformed) else items


def recordings(content_type: str) -> dict[str, list[bytes]]:
    """The frames of each recorded stream of CONTENT_TYPE, by the name of its file and its number there."""
    return {
        f"{path.parent.name}/{path.stem}[{number}]": [_frame(frame) for frame in exchange["response"]["frames"]]
        for path in sorted(EXCHANGES.glob("*/*.json"))
        for number, exchange in enumerate(json.loads(path.read_text("utf-8")))
        if content_type in dict(exchange["response"]["headers"]).get("Content-Type", "")
    }


def _frame(frame: dict[str, Any]) -> bytes:
    return base64.b64decode(frame["base64"]) if "base64" in frame else frame["text"].encode()
