"""Keeps models in memory within limits: others leave to make room for one, and unused ones after a time."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.fork import new_lock
from localllm_magics.core.memory_plan import HOST, MemoryPlan
from localllm_magics.core.presentation import to_duration
from localllm_magics.core.table import to_size
from localllm_magics.eviction import Limits, Missing, Resident, idle, over_free, over_limit, to_free
from localllm_magics.idle_timer import IdleTimer
from localllm_magics.model import Model


class Residency:
    """Has models leave memory; what has left is loaded again when it is next used. For any thread.

    Args:
        models: Those that may be made to leave; the models of servers that others have started are none of them.
        tell: Called after some have left.
        clock: Seconds on the clock by which the models say when they were used last.
    """

    def __init__(
        self,
        models: Callable[[], Iterable[Model]],
        tell: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._tell = tell
        self._clock = clock
        self._limits = Limits()
        self._lock = new_lock()
        self._timer = IdleTimer(self._release_idle)
        self._plans: WeakKeyDictionary[Model, MemoryPlan] = WeakKeyDictionary()  # of models that are being loaded

    def __repr__(self) -> str:
        return f"<Residency: {to_size(self.memory_bytes)} in use, {self._limits}>"

    @property
    def limits(self) -> Limits:
        """What models may take; lower ones have models leave at once."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        limit = limits.memory_bytes
        if limit is not None:
            with self._lock:
                left = self._evict(
                    lambda: over_limit(limit, 0, self._residents()),
                    "the memory limit was lowered",
                    is_all_or_nothing=False,
                )
            self._report(left)
        self.watch()

    @property
    def memory_bytes(self) -> int:
        """Bytes that all of the models hold, or will once they are loaded."""
        return sum(resident.memory_bytes for resident in self._residents())

    def make_room(self, model: Model, plan: Callable[[], MemoryPlan], *, is_forced: bool = False) -> None:
        """Have others leave for MODEL, which is being loaded, or is about to; what it holds itself is not counted.

        Args:
            model: Who is to stay.
            plan: Plans the load for the memory that is free at the moment, or will be.
            is_forced: Whether it is loaded though there is not enough.

        Raises:
            NotEnoughMemory: They are above the limit, whoever leaves, and it is not loaded by force.
        """
        limit = self._limits.memory_bytes

        def missing() -> Missing:
            if limit is None:
                return over_free(plan())
            return over_limit(limit, plan().needed, self._residents(beside=model))

        with self._lock:
            why = f"room was made for {model.info.reference}"
            left = self._evict(missing, why, is_all_or_nothing=not is_forced)
            if limit is not None and not is_forced and missing().size > 0:
                raise _not_enough(model, plan().needed, limit, self._residents(beside=model))
            self._plans[model] = plan()
        self._report(left)
        for other, size in left.items():
            model.activity.tell(
                f"Unloaded {other.info.reference} ({to_size(size)}), the least recently used, to make room."
            )
        self.watch()

    def watch(self) -> None:
        """Have models leave once they have been idle for long enough."""
        if self._release_idle() is not None:
            self._timer.start()

    def resume(self) -> None:
        """Watch again in a process that was forked from one that did; to be called after each use of a model."""
        self._timer.resume()

    def close(self) -> None:
        """End the thread, and forget the limits; again is no error."""
        self._limits = Limits()
        self._timer.stop()

    def _evict(self, missing: Callable[[], Missing], why: str, *, is_all_or_nothing: bool) -> dict[Model, int]:
        """Have models leave while something is MISSING; who has left, and the bytes of each."""
        left: dict[Model, int] = {}
        # Decided anew after each: memory may not come back, and a model may be used meanwhile.
        while leaving := to_free(missing(), self._residents(), is_all_or_nothing=is_all_or_nothing):
            first = leaving[0]
            if first.model.release(first.last_used, why):
                left[first.model] = first.memory_bytes
        return left

    def _release_idle(self) -> float | None:
        """Have idle models leave; the seconds until it is to be done again, or None."""
        seconds = self._limits.idle_seconds
        if seconds is None:
            return None
        with self._lock:
            leaving, wait = idle(self._residents(), seconds, self._clock())
            why = f"nothing had used it for {to_duration(seconds)}"
            left = {r.model: r.memory_bytes for r in leaving if r.model.release(r.last_used, why)}
        self._report(left)
        return wait

    def _residents(self, *, beside: Model | None = None) -> tuple[Resident, ...]:
        """Who is in memory now, or will be, without BESIDE."""
        found = (self._to_resident(model) for model in self._models() if model is not beside)
        return tuple(resident for resident in found if resident is not None)

    def _to_resident(self, model: Model) -> Resident | None:
        activity, status, plan = model.activity, model.status(), self._plans.get(model)
        last_used, is_busy = activity.last_used, activity.is_busy
        if status.model.context is not None:
            devices = dict(status.device_bytes)
            held = {HOST: status.memory_bytes - sum(devices.values()), **devices}
        elif plan is not None and is_busy:
            held = {use.memory.name: use.needed for use in plan.uses}
        else:
            return None
        return Resident(model=model, held=held, last_used=last_used, is_pinned=model.is_pinned, is_busy=is_busy)

    def _report(self, left: Mapping[Model, int]) -> None:
        if left:
            self._tell()


def _not_enough(model: Model, needed: int, limit: int, others: Sequence[Resident]) -> NotEnoughMemory:
    """The error for MODEL, whatever OTHERS may leave."""
    staying = [other for other in others if not other.may_leave]
    held = sum(other.memory_bytes for other in staying)
    names = " and ".join(other.model.info.reference for other in staying)
    beside = f", of which {to_size(held)} are held by {names}, pinned or in use" if staying else ""
    return NotEnoughMemory(
        f"{model.info.reference} needs {to_size(needed)}, and the memory limit is {to_size(limit)}{beside}.",
        f'Type: %config LocalLLM.memory_limit = "{_to_limit(needed + held)}". A smaller --ctx needs less, and --force '
        "(in Python force=True) loads it anyway.",
    )


def _to_limit(size: int) -> str:
    """A limit of at least SIZE bytes, as it is typed."""
    return f"{math.ceil(size / 1e8) / 10:.1f} GB" if size >= 1e9 else f"{math.ceil(size / 1e6)} MB"
