"""What this machine offers: memory and cores."""

import ctypes
import math
import os
import sys
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
# Of each version: the files with the limit, with what is used and with its parts, and how names of parts begin.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", ""),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
)


def free_memory(cgroups: Path = _CGROUPS) -> int:
    """Bytes that can be used without swapping."""
    available = int(psutil.virtual_memory().available)
    limit = _cgroup_available(cgroups)
    return available if limit is None else min(available, limit)


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
    return 1 if size_bytes < 32e6 else physical_cores()


def physical_cores(cgroups: Path = _CGROUPS) -> int:
    """Cores that this process may use, each counted once however many threads it runs."""
    if hasattr(os, "sched_getaffinity"):  # psutil counts all cores of the machine
        cpus = os.sched_getaffinity(0)
        files = [Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list") for cpu in cpus]
        cores = len({file.read_text().strip() if file.is_file() else str(file) for file in files})
    else:  # pragma: no cover - not on Linux
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return max(1, int(min(cores, _cgroup_cores(cgroups))))


def logical_cpus(cgroups: Path = _CGROUPS) -> int:
    """How many threads of this process can run at once."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cpus, _cgroup_cores(cgroups))))


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


def _cgroup_available(cgroups: Path) -> int | None:
    """What a container's limit leaves; where there is none, version 1 has a limit that no machine reaches."""
    for *names, prefix in _CGROUP_FILES:
        limit, used, stat = (cgroups / name for name in names)
        if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
            continue
        lines = (line.split() for line in stat.read_text().splitlines()) if stat.is_file() else ()
        # What files were read is used memory, too, but the system gives it back by itself.
        parts = {f"{prefix}inactive_file", f"{prefix}active_file"}
        cached = sum(int(number) for name, number in lines if name in parts)
        return max(0, int(limit.read_text()) - int(used.read_text()) + cached)
    return None


def _cgroup_cores(cgroups: Path) -> float:
    """How many cores' worth of time a container's limit leaves (cgroup v2)."""
    limit = cgroups / "cpu.max"
    quota, _, period = limit.read_text().partition(" ") if limit.is_file() else ("max", "", "")
    return math.inf if quota == "max" else int(quota) / int(period)
