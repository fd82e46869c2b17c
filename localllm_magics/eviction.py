"""Decides which models leave memory; what is decided here is done in `residency`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from localllm_magics.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What models may take.

    Args:
        memory_bytes: Bytes for all together, on the host and on devices; None for what is free.
        idle_seconds: Seconds after which an unused one leaves; None for never.
    """

    memory_bytes: int | None = None
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model that is in memory, or is being loaded, at one moment.

    Args:
        memory_bytes: Bytes that it holds, or will hold; 0 where that is not known.
        last_used: When its last use ended.
        is_pinned: Whether the user wants it to stay.
        is_busy: Whether it is being loaded, answers, or is about to.
    """

    model: Model
    memory_bytes: int
    last_used: float
    is_pinned: bool = False
    is_busy: bool = False

    @property
    def may_leave(self) -> bool:
        """Whether nobody would miss it now."""
        return not (self.is_pinned or self.is_busy)


def to_free(missing: int, residents: Iterable[Resident], *, is_all_or_nothing: bool = True) -> tuple[Resident, ...]:
    """Those that are to leave so that MISSING bytes become free, the least recently used first.

    Args:
        missing: Bytes.
        residents: All that are in memory.
        is_all_or_nothing: None leaves where all that may leave are not enough.
    """
    leaving = [resident for resident in residents if resident.may_leave and resident.memory_bytes]
    leaving.sort(key=lambda resident: resident.last_used)
    freed_before = [0, *accumulate(resident.memory_bytes for resident in leaving)]
    if is_all_or_nothing and freed_before[-1] < missing:
        return ()
    return tuple(resident for resident, freed in zip(leaving, freed_before, strict=False) if freed < missing)


def idle(residents: Sequence[Resident], seconds: float, now: float) -> tuple[tuple[Resident, ...], float | None]:
    """Those that nothing has used for SECONDS, and how long it is until the next one may follow, if there is any."""
    left = {resident.model: 0.0 if resident.is_busy else now - resident.last_used for resident in residents}
    leaving = tuple(resident for resident in residents if resident.may_leave and left[resident.model] >= seconds)
    waits = [seconds - left[r.model] for r in residents if not r.is_pinned and r not in leaving]
    return leaving, min(waits, default=None)
