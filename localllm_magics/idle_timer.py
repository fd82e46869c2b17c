"""The thread that looks after idle models."""

import threading
from collections.abc import Callable
from contextlib import suppress

from localllm_magics.core.fork import new_lock, repair_after_fork
from localllm_magics.engines.background import require_room_for_thread

_LONGEST_WAIT = 3600.0  # seconds; a wait for ages is none that the system takes


class IdleTimer:
    """Checks now and then, in one thread, for as long as there is something to wait for.

    Args:
        check: Does what is due; the seconds until it is to be called again, or None when there is nothing to wait for.
    """

    def __init__(self, check: Callable[[], float | None]) -> None:
        self._check = check
        self._lock = new_lock()
        self._thread: _Thread | None = None
        self._was_lost = False
        repair_after_fork(self)

    def __repr__(self) -> str:
        return f"<IdleTimer {'running' if self._thread else 'at rest'}>"

    def start(self) -> None:
        """Check soon, and then when it is time; where no thread can be started, the next call tries again."""
        with self._lock:
            self._was_lost = False
            if self._thread is not None:
                self._thread.wake.set()
                return
            thread = _Thread(self._work)
            with suppress(RuntimeError, MemoryError):
                require_room_for_thread()
                thread.start()
                self._thread = thread

    def resume(self) -> None:
        """Start again where the thread was lost in a fork; for each use, so it costs nothing elsewhere."""
        if self._was_lost:
            self.start()

    def stop(self) -> None:
        """End the thread and wait until it is gone; again is no error."""
        with self._lock:
            thread, self._thread, self._was_lost = self._thread, None, False
        if thread is not None:
            thread.wake.set()
            if thread is not threading.current_thread():
                thread.join()

    def after_fork(self) -> None:
        """Forget the thread, which is not in this process; see `Forkable`."""
        self._thread, self._was_lost = None, self._was_lost or self._thread is not None

    def _work(self, thread: "_Thread") -> None:
        seconds: float | None = 0.0
        while not self._is_over(thread, seconds):
            thread.wake.wait(min(seconds or 0.0, _LONGEST_WAIT))
            thread.wake.clear()
            seconds = self._check() if self._thread is thread else None

    def _is_over(self, thread: "_Thread", seconds: float | None) -> bool:
        """Whether THREAD is to end; a call of `start` that came meanwhile keeps it."""
        with self._lock:
            if self._thread is thread and seconds is None and not thread.wake.is_set():
                self._thread = None
            return self._thread is not thread


class _Thread(threading.Thread):
    """Does WORK, and can be woken."""

    def __init__(self, work: Callable[["_Thread"], None]) -> None:
        super().__init__(target=work, args=(self,), name="localllm-idle", daemon=True)
        self.wake = threading.Event()
