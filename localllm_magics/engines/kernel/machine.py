"""What this machine offers: memory and cores."""

import ctypes
import math
import os
import sys
from pathlib import Path

_SHARED_BYTES = 32e6


def free_memory() -> int | None:
    """Bytes that can be used without swapping, or None where that is not known."""
    limits = [size for size in (_meminfo_available(), _cgroup_available()) if size is not None]
    return min(limits, default=None)


def usual_threads(size_bytes: int) -> int:
    """CPU threads for a model of this size: one for each core, but one for a model too small to be shared.

    A token of a tiny model takes less time than threads need to meet, and far
    less than one of them waits when another program has its core.
    """
    return 1 if size_bytes < _SHARED_BYTES else physical_cores()


def physical_cores() -> int:
    """Cores that this process may use, each counted once however many threads it runs."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores: set[str] = set()
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list")
        cores.add(topology.read_text().strip() if topology.is_file() else str(cpu))
    return max(1, int(min(len(cores), _cgroup_cores())))


def return_freed_memory() -> None:
    """Have the C library hand back what was freed: glibc keeps up to 64 MB of it for each thread that allocated."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def cpu_name() -> str:
    """Model and features of the CPU, to tell machines apart."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return f"{sys.platform} {os.cpu_count()}"
    lines = info.read_text(errors="replace").split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))


def _meminfo_available() -> int | None:
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    for line in info.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_available() -> int | None:
    """What a container's limit leaves (cgroup v2)."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
        return None
    return max(0, int(limit.read_text()) - int(used.read_text()))


def _cgroup_cores() -> float:
    """How many cores' worth of time a container's limit leaves (cgroup v2)."""
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota, _, period = limit.read_text().partition(" ") if limit.is_file() else ("max", "", "")
    return math.inf if quota == "max" else int(quota) / int(period)
