"""What the figures were measured on, and how busy it was."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("localllm-magics", "llama-cpp-python", "ipython", "ipykernel", "jupyter-client")


def facts() -> dict[str, str]:
    """The machine and the versions, in words."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "command": " ".join(["python -m tools.bench", *sys.argv[1:]]),
        "machine": f"{_cpu()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def load() -> str:
    """How many processes want a CPU: over 1, 5 and 15 minutes."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.processor() or platform.machine())
    amx = any("amx_int8" in line for line in lines if line.startswith("flags"))
    return f"{name} (with AMX)" if amx else name
