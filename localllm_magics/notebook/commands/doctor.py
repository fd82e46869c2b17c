"""What is installed, what this machine can do, and the command that mends what is missing."""

import platform
import sys

import IPython

from localllm_magics import demo
from localllm_magics.catalog.llamafile_weights import cache_contents, clean_cache, default_folder
from localllm_magics.catalog.servers import KnownServer, find_servers
from localllm_magics.core.errors import EngineNotInstalled
from localllm_magics.core.stop import Stop
from localllm_magics.core.table import Table, to_size
from localllm_magics.core.version import __version__
from localllm_magics.engines.kernel.library import Library, library, rebuild_hint
from localllm_magics.engines.kernel.machine import free_memory, physical_cores
from localllm_magics.engines.kernel.worker import build_probe
from localllm_magics.engines.llamafile.pool import clean_logs
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.server.settings import ServerSettings

_HEADERS = ("Part", "Found", "To change it")


def checkup(settings: ServerSettings) -> Table:
    """A row for each part, and each server; the first use of a build tries it, which takes about a second."""
    free = free_memory()
    rows = [
        ("localllm-magics", __version__, ""),
        ("Python", f"{platform.python_version()}, {sys.executable}", ""),
        ("IPython", IPython.__version__, ""),
        ("Memory", "not known" if free is None else f"{to_size(free)} free", ""),
        ("CPU", f"{platform.machine()}, {physical_cores()} cores", ""),
        ("Bundled model", to_size(demo.PATH.stat().st_size), ""),
    ]
    try:
        rows += _kernel_engine(library())
    except EngineNotInstalled as exc:
        rows.append(("Kernel engine", exc.message, exc.hint))
    rows += [_daemon(daemon) for daemon in find_servers(settings)]
    copied = sum(weights.size_bytes for weights in cache_contents())
    if copied:
        rows.append(("Weights of llamafiles", f"{to_size(copied)} in {default_folder()}", "%llm doctor --clean"))
    return Table(headers=_HEADERS, rows=tuple(rows))


def clean() -> Table:
    """Remove what was kept to be faster the next time."""
    rows = [("Weights of llamafiles", to_size(clean_cache())), ("Logs of llamafiles", to_size(clean_logs()))]
    return Table(headers=("Kept", "Given back"), rows=tuple(rows))


def _daemon(daemon: KnownServer) -> tuple[str, str, str]:
    name = f"{daemon.name} at {daemon.address.netloc}"
    if daemon.problem is not None:
        return (name, daemon.problem, how_to_start(daemon.address))
    count = len(daemon.models)
    found = ", ".join(info.reference for info in daemon.models[:3]) + (", …" if count > 3 else "")
    return (name, f"runs; {found}" if count else "runs, and has no model", "")


def _kernel_engine(lib: Library) -> list[tuple[str, str, str]]:
    survives = build_probe.survives(lib, build_probe.trial_command(demo.PATH), build_probe.default_cache(), Stop())
    gpus = [device for device in lib.devices() if device.is_gpu]
    return [
        ("Kernel engine", f"llama-cpp-python {lib.version}", ""),
        ("Instruction sets", lib.system_info.strip(" |"), ""),
        (
            "Build",
            "reads and writes tokens"
            if survives
            else "crashed when it was tried; used without repacked weights, so prompts are read up to 3.5 times slower",
            "" if survives else build_probe.REBUILD,
        ),
        *((f"Device {gpu.name}", f"{gpu.description}, {to_size(gpu.free_bytes)} free", "") for gpu in gpus),
        *([] if gpus else [("GPU", _no_gpu(lib), rebuild_hint())]),
    ]


def _no_gpu(lib: Library) -> str:
    return "none found, though the build supports one" if lib.supports_gpu else "this build has no GPU support"
