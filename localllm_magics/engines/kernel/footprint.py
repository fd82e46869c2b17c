"""Whether the memory of a model comes back when it is unloaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from localllm_magics.engines.kernel.machine import private_memory

_SLACK = 16 << 20
"""Bytes that other work of the process may take or give back meanwhile."""


class Footprint:
    """What this process holds for a model; made before the load.

    Args:
        held: Bytes that the process holds for itself now.
    """

    def __init__(self, held: Callable[[], int] = private_memory) -> None:
        self.unreturned_bytes = 0
        self._held = held
        self._before = held()
        self._taken = 0

    def __repr__(self) -> str:
        return f"<Footprint: {self._taken:,} bytes taken, {self.unreturned_bytes:,} not returned>"

    def end_load(self, most: int) -> None:
        """The model is loaded, and has taken MOST bytes or less."""
        self._taken = min(self._held() - self._before, most)

    @contextmanager
    def giving_back(self) -> Iterator[None]:
        """Measure what comes back while the block runs."""
        full = self._held()
        yield
        empty = self._held()
        # Other work of the process may have taken memory since the load, or lost it to the swap file: it is only
        # sure that some of the model's did not come back where both numbers say so.
        unreturned = min(self._taken - (full - empty), empty - self._before)
        self.unreturned_bytes = unreturned if unreturned > _SLACK else 0
