"""What this machine offers: memory and cores."""

import os
import sys
from pathlib import Path


def free_memory() -> int | None:
    """Bytes that can be used without swapping, or None where that is not known."""
    limits = [size for size in (_meminfo_available(), _cgroup_available()) if size is not None]
    return min(limits, default=None)


def physical_cores() -> int:
    """Cores that this process may use, each counted once however many threads it runs."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list")
        cores.add(topology.read_text().strip() if topology.is_file() else str(cpu))
    return max(1, len(cores))


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
