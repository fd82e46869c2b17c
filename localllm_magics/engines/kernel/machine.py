"""What this machine offers: cores, and what this process holds of its memory."""

import ctypes
import os
import sys
from pathlib import Path

import psutil

from localllm_magics.engines.kernel.cgroups import PROC, cpu_quota

SMALL_MODEL = 32_000_000
"""Bytes from which on a model is worth more than one thread; a smaller one stays in the cache of a CPU."""


def private_memory(process: int | None = None) -> int:
    """Bytes that PROCESS, or this one, holds for itself, without mapped files where the system can; 0 once it ended."""
    try:
        info = psutil.Process(process).memory_info()
    except psutil.Error:
        return 0
    return int(info.rss - getattr(info, "shared", 0))


def usual_threads(size_bytes: int) -> int:
    """CPU threads for a model of this size: one for each core, but one for a model too small to be shared.

    A token of a tiny model takes less time than threads need to meet, and far less than one of them waits when another
    program has its core.
    """
    return 1 if size_bytes < SMALL_MODEL else physical_cores()


def physical_cores(proc: Path = PROC) -> int:
    """Cores that this process may use, each counted once however many threads it runs."""
    if hasattr(os, "sched_getaffinity"):  # psutil counts all cores of the machine
        cpus = os.sched_getaffinity(0)
        files = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list") for cpu in cpus]
        cores = len({file.read_text().strip() if file.is_file() else str(file) for file in files})
    else:  # pragma: no cover - not on Linux
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return max(1, int(min(cores, cpu_quota(proc))))


def logical_cpus(proc: Path = PROC) -> int:
    """How many threads of this process can run at once."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cpus, cpu_quota(proc))))


def return_freed_memory() -> None:
    """Have the C library hand back what was freed: glibc keeps up to 64 MB of it for each thread that allocated."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # pragma: no branch - glibc is not everywhere
        trim(0)


def cpu_name() -> str:
    """Model and features of the CPU, to tell machines apart."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():  # pragma: no cover - not on Linux
        return f"{sys.platform} {os.cpu_count()}"
    lines = info.read_text(errors="replace").split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
