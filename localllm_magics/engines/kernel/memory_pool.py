"""The memory pool that glibc has for a thread."""

import ctypes
import sys

from localllm_magics.engines.kernel.machine import return_freed_memory

_MOST = 64 << 20  # bytes: glibc makes no part of a pool larger
_BLOCK = 100_000  # bytes: larger ones may be mapped each on its own


def empty_pool_of_thread() -> None:
    """Have glibc hand back also what is free at the end of this thread's pool, which `malloc_trim` leaves there."""
    if sys.platform != "linux":  # pragma: no cover - glibc is there only
        return
    libc = ctypes.PyDLL(None)  # its calls keep Python's lock: they are short
    malloc = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("malloc", libc))
    free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("free", libc))
    # What is free below a block in use is handed back. So blocks fill the end, and the last one is freed last.
    *blocks, last = [malloc(_BLOCK) for _ in range(_MOST // _BLOCK)]
    for block in blocks:
        free(block)
    return_freed_memory()
    free(last)
