"""The idle threads that other libraries left in this process, which slow a build of llama.cpp with OpenMP down.

After a `fit` of LightGBM in a cell, libgomp keeps a team of threads for the thread that called. An answer is made in a
worker thread, for which it makes a second team; with more threads than cores each of its hundreds of barriers a token
then waits in the kernel of the system, and a token takes nearly twice the time.
"""

import ctypes
import os
import sys

_OMP_PAUSE_HARD = 2  # enum omp_pause_resource_t in omp.h


def give_back_idle_threads() -> None:
    """End the calling thread's team, which costs 0.1 ms; its next parallel work makes a new one."""
    shared = _shared_library()
    pause = getattr(shared, "omp_pause_resource_all", None)
    if pause is not None and not hasattr(shared, "__kmpc_fork_call"):  # LLVM's runtime would end for all threads
        pause(_OMP_PAUSE_HARD)


def _shared_library() -> ctypes.CDLL | None:
    """What to look the runtime up through: llama.cpp, which finds the one it is linked to, if that was imported."""
    llama_cpp = sys.modules.get("llama_cpp.llama_cpp")
    if llama_cpp is not None:
        loaded: ctypes.CDLL = llama_cpp._lib  # noqa: SLF001 - there is no public way to it
        return loaded
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD) if sys.platform == "linux" else None
    except OSError:  # nobody has loaded it
        return None
