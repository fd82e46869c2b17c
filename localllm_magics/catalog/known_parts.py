"""Parts of headers that were read before: many files have the same vocabulary, or the same tensor table."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPart(Generic[T]):
    """A part and what it was read as.

    Args:
        size: Its bytes.
        digest: The SHA-256 of them.
    """

    size: int
    digest: bytes
    value: T


class KnownParts(Generic[T]):
    """The last MOST parts by what is known of them before they are read; for any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: dict[Hashable, KnownPart[T]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def get(self, key: Hashable) -> KnownPart[T] | None:
        """The part that may be the same; its digest tells."""
        return self._parts.get(key)

    def put(self, key: Hashable, part: KnownPart[T]) -> None:
        """Remember PART in the place of one with the same KEY."""
        self._parts.pop(key, None)
        self._parts[key] = part
        while len(self._parts) > self._most:
            self._parts.pop(next(iter(self._parts)), None)
