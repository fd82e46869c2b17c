"""Whether a model is in use, and since when it is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from localllm_magics.core.fork import new_lock, repair_after_fork


class Activity:
    """What uses a model now, and when something did last; all methods may be called from any thread.

    Each use is known by a list, to which is added what happens meanwhile, in sentences.

    Args:
        clock: Seconds on a clock that does not jump.
        at_end: Called after each use.
    """

    def __init__(self, clock: Callable[[], float], at_end: Callable[[], None] = lambda: None) -> None:
        self.last_used = clock()
        self._at_end = at_end
        self._clock = clock
        self._lock = new_lock()
        self._uses: list[list[str]] = []
        repair_after_fork(self)

    def __repr__(self) -> str:
        return f"<Activity: {len(self._uses)} uses, idle for {self.idle_seconds or 0:.0f} s>"

    @property
    def is_busy(self) -> bool:
        """Whether something uses it."""
        return bool(self._uses)

    @property
    def idle_seconds(self) -> float | None:
        """Seconds since the last use; None while there is one."""
        return None if self._uses else self._clock() - self.last_used

    def begin(self, notices: list[str]) -> None:
        """A use begins that NOTICES belong to."""
        with self._lock:
            self._uses.append(notices)

    def end(self, notices: list[str]) -> None:
        """The use that NOTICES belong to ends; again is no error."""
        with self._lock:
            self._uses = [use for use in self._uses if use is not notices]
            self.last_used = self._clock()
        self._at_end()

    @contextmanager
    def using(self) -> Iterator[None]:
        """A use for as long as the block runs."""
        notices: list[str] = []
        self.begin(notices)
        try:
            yield
        finally:
            self.end(notices)

    def tell(self, notice: str) -> None:
        """Let those who use it know."""
        for notices in tuple(self._uses):
            notices.append(notice)

    @contextmanager
    def unused(self, since: float) -> Iterator[bool]:
        """Let no use begin while the block runs; whether there is none, and was none after SINCE."""
        with self._lock:
            yield not self._uses and self.last_used == since

    def after_fork(self) -> None:
        """Forget the uses of the process that was forked; see `Forkable`."""
        self._uses = []
