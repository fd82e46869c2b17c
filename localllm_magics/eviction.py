"""Decides which models leave memory; what is decided here is done in `residency`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from localllm_magics.core.memory_plan import MemoryPlan
from localllm_magics.engines.planner.refusal import shortage
from localllm_magics.model import Model

_BUSY_SECONDS = 1.0  # the least until a busy model is looked at again


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
        held: Bytes that it holds, or will hold, by the name of the memory; nothing where that is not known.
        last_used: When its last use ended.
        is_pinned: Whether the user wants it to stay.
        is_busy: Whether it is being loaded, answers, or is about to.
    """

    model: Model
    held: Mapping[str, int]
    last_used: float
    is_pinned: bool = False
    is_busy: bool = False

    @property
    def memory_bytes(self) -> int:
        """Bytes that it holds altogether."""
        return sum(self.held.values())

    @property
    def may_leave(self) -> bool:
        """Whether nobody would miss it now."""
        return not (self.is_pinned or self.is_busy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Bytes that are not free, though they are needed.

    Args:
        memories: Names of the memories that they may be in; None for any.
    """

    size: int
    memories: frozenset[str] | None = None

    def freed_by(self, resident: Resident) -> int:
        """How many of them become free when RESIDENT leaves."""
        names = resident.held.keys() if self.memories is None else self.memories & resident.held.keys()
        return sum(resident.held[name] for name in names)


def over_limit(limit: int, needed: int, residents: Iterable[Resident]) -> Missing:
    """What is missing for a model that needs so many bytes, beside RESIDENTS, within LIMIT."""
    return Missing(size=needed + sum(resident.memory_bytes for resident in residents) - limit)


def over_free(plan: MemoryPlan) -> Missing:
    """What is missing where PLAN does not fit into what is free."""
    short = shortage(plan, plan.reserve)
    if short is None:
        return Missing(size=0)
    shared = frozenset(use.memory.name for use in plan.uses if use.memory.is_host)
    memories = shared if short.memory.is_host else frozenset({short.memory.name})
    return Missing(size=short.needed - short.memory.free, memories=memories)


def to_free(missing: Missing, residents: Iterable[Resident], *, is_all_or_nothing: bool = True) -> tuple[Resident, ...]:
    """Those that are to leave so that what is missing becomes free, the least recently used first.

    Args:
        missing: What is needed.
        residents: All that are in memory.
        is_all_or_nothing: None leaves where all that may leave are not enough.
    """
    leaving = [resident for resident in residents if resident.may_leave and missing.freed_by(resident)]
    leaving.sort(key=lambda resident: resident.last_used)
    freed_before = [0, *accumulate(map(missing.freed_by, leaving))]
    if is_all_or_nothing and freed_before[-1] < missing.size:
        return ()
    return tuple(resident for resident, freed in zip(leaving, freed_before, strict=False) if freed < missing.size)


def idle(residents: Sequence[Resident], seconds: float, now: float) -> tuple[tuple[Resident, ...], float | None]:
    """Those that nothing has used for SECONDS, and how long it is until the next one may follow, if there is any."""
    busy = min(0.0, seconds - _BUSY_SECONDS)
    left = {resident.model: busy if resident.is_busy else now - resident.last_used for resident in residents}
    leaving = tuple(resident for resident in residents if resident.may_leave and left[resident.model] >= seconds)
    waits = [seconds - left[r.model] for r in residents if not r.is_pinned and r not in leaving]
    return leaving, min(waits, default=None)
