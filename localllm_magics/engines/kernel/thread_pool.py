"""The threads that compute for a context, kept from one decode to the next.

Without a pool, a build without OpenMP makes its threads anew for each decode and waits for their end. On busy cores
that costs more than the decode of a tiny model itself.
"""

import ctypes
import threading

from localllm_magics.core.fork import repair_after_fork
from localllm_magics.engines.kernel.library import Library


class _Params(ctypes.Structure):
    """`struct ggml_threadpool_params` of ggml.h."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * 512),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class ThreadPool:
    """A pool of THREADS threads for the context at CONTEXT, which is started when it is first needed.

    Args:
        lib: The build.
        context: A `llama_context *`, freed before the pool is closed.
        threads: Threads, the one that calls `llama_decode` included.
    """

    def __init__(self, lib: Library, context: object, threads: int) -> None:
        self._lib, self._context = lib, context
        self._threads = threads
        self._pool: int | None = None
        repair_after_fork(self)

    def start(self) -> None:
        """Attach the pool to the context, unless that was done.

        Raises:
            RuntimeError: The system allows no more threads, where llama.cpp would end the process.
        """
        if self._pool is None:
            _require_threads(self._threads - 1)
            lib, params = self._lib, _Params()
            initialise = lib.function("ggml_threadpool_params_init", None, ctypes.c_void_p, ctypes.c_int)
            initialise(ctypes.byref(params), self._threads)
            self._pool = lib.cpu_function("ggml_threadpool_new", ctypes.c_void_p, ctypes.c_void_p)(ctypes.byref(params))
            attach = lib.function("llama_attach_threadpool", None, *[ctypes.c_void_p] * 3)
            attach(self._context, self._pool, self._pool)

    def close(self) -> None:
        """End the threads; again is no error."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._lib.cpu_function("ggml_threadpool_free", None, ctypes.c_void_p)(pool)

    def after_fork(self) -> None:
        """Forget the threads, which are only in the other process; see `Forkable`."""
        self._pool = None


def _require_threads(count: int) -> None:
    """Have COUNT threads for a moment."""
    end, threads = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            threads.append(thread)
    finally:
        end.set()
        for thread in threads:
            thread.join()
