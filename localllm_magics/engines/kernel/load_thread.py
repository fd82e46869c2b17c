"""The thread of a load, kept until the model is unloaded: only it can empty the memory pool that it has filled.

glibc has several pools for what is allocated in threads. A new thread gets the one of the thread that has ended last,
so that models which are loaded one after the other could fill all of them; and what was freed at the end of a pool
stays with it, up to 64 MB, whatever `malloc_trim` is told.
"""

import threading

from localllm_magics.core.fork import repair_after_fork
from localllm_magics.engines.kernel.memory_pool import empty_pool_of_thread

_MOST_SECONDS = 5.0  # where the interpreter has ended, so has the thread, without a word


class LoadThread:
    """Keeps the thread that calls `keep`."""

    def __init__(self) -> None:
        self._may_end = threading.Event()
        self._has_ended = threading.Event()
        self._has_ended.set()
        repair_after_fork(self)

    def keep(self) -> None:
        """Call this in the thread, once the model is in memory."""
        self._has_ended.clear()

    def wait(self) -> None:
        """Then wait in the thread until the model was unloaded, and empty its pool."""
        threading.current_thread().name += "-kept"
        self._may_end.wait()
        empty_pool_of_thread()
        self._has_ended.set()

    def end(self) -> None:
        """Call this elsewhere, after the model was unloaded; again is no error."""
        self._may_end.set()
        self._has_ended.wait(_MOST_SECONDS)

    def after_fork(self) -> None:
        """Expect no thread: it is not in this process; see `Forkable`."""
        self._has_ended = threading.Event()
        self._has_ended.set()
