"""What is installed, what this machine can do, and the command that fixes what is missing."""

import platform
import sys
import time

import IPython

from localllm_magics import demo
from localllm_magics.catalog.servers import ServerStatus, find_servers
from localllm_magics.core.errors import EngineNotInstalled, NotEnoughMemory
from localllm_magics.core.stop import Stop
from localllm_magics.core.table import Table, to_size
from localllm_magics.core.version import __version__
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.in_words import measured_in_words
from localllm_magics.engines.forecast.stored import SpeedStore, stored_calibration
from localllm_magics.engines.kernel.cpu_features import cpu_features
from localllm_magics.engines.kernel.installing import rebuild_command, rebuild_hint
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.machine import cpu_name, physical_cores
from localllm_magics.engines.kernel.machine_memory import host_memory
from localllm_magics.engines.kernel.plan import require_room_for_library
from localllm_magics.engines.kernel.weights_cache import cache_contents, clean_cache, default_folder
from localllm_magics.engines.kernel.worker import build_probe
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults
from localllm_magics.engines.llamafile.pool import clean_logs
from localllm_magics.engines.local_servers import how_to_start
from localllm_magics.engines.server.settings import ServerSettings


def checkup(settings: ServerSettings) -> Table:
    """A row for each part, and each server; the first use of a build probes it, which takes about a second."""
    host = host_memory()
    rows = [
        ("localllm-magics", __version__, ""),
        ("Python", f"{platform.python_version()}, {sys.executable}", ""),
        ("IPython", IPython.__version__, ""),
        ("Memory", f"{to_size(host.free)} free{host.limit and ': '}{host.limit}", ""),
        ("CPU", f"{platform.machine()}, {physical_cores()} cores", ""),
        ("Bundled model", to_size(demo.PATH.stat().st_size), ""),
    ]
    try:
        require_room_for_library("The check", host)
        rows += _kernel_engine(library())
    except (EngineNotInstalled, NotEnoughMemory) as exc:
        rows.append(("Kernel engine", exc.message, exc.hint))
    rows += [_server(server) for server in find_servers(settings)]
    copied = sum(weights.size_bytes for weights in cache_contents())
    if copied:
        rows.append(("Weights of llamafiles", f"{to_size(copied)} in {default_folder()}", "`%llm doctor --clean`"))
    return Table(headers=("Part", "Found", "To change it"), rows=tuple(rows))


def clean() -> Table:
    """Remove the files that only save time."""
    freed = {
        "Weights of llamafiles": clean_cache(),
        "Logs of llamafiles": clean_logs(),
        "Results of probes": ProbeResults().clear(),
        "Speed of this machine": SpeedStore().clear(),
    }
    return Table(headers=("Removed", "Size"), rows=tuple((name, to_size(size)) for name, size in freed.items()))


def _server(server: ServerStatus) -> tuple[str, str, str]:
    name = f"{server.name} at {server.address.netloc}"
    if server.problem is not None:
        what, _, command = how_to_start(server.address).rpartition(": ")
        return (name, server.problem, f"{what}: `{command}`")
    count = len(server.models)
    found = ", ".join(info.reference for info in server.models[:3]) + (", …" if count > 3 else "")
    return (name, f"runs; {found}" if count else "runs, and has no model", "")


def _forecast(calibration: Calibration | None) -> tuple[str, str, str]:
    is_measured = calibration is not None and not calibration.is_noisy
    again = "`%llm doctor --clean`, then " if is_measured else ""
    return ("Forecast", measured_in_words(calibration, time.time()), f"{again}`%llm models --forecast`")


def _kernel_engine(lib: Library) -> list[tuple[str, str, str]]:
    gpus = [device for device in lib.devices() if device.is_gpu]
    crashed = "crashed in a probe; used without weight repacking, so prompt processing is up to 3.5 times slower"
    used, unused = cpu_features(lib.system_info, cpu_name())
    features = f"{used}; this CPU has {unused}" if unused else used
    works = build_probe.passes(lib, ProbeResults(), Stop())
    no_gpu = "none found, though the build supports one" if lib.supports_gpu else "this build has no GPU support"
    return [
        ("Kernel engine", f"llama-cpp-python {lib.version}", ""),
        ("CPU features", features, f"`{rebuild_command()}`" if unused else ""),
        _forecast(stored_calibration(lib)),
        ("Threads", "OpenMP's" if "OPENMP = 1" in lib.system_info else "llama.cpp's own, without OpenMP", ""),
        *([] if works else [("Build", crashed, f"`{build_probe.REBUILD}`")]),
        *((f"Device {gpu.name}", f"{gpu.description}, {to_size(gpu.free_bytes)} free", "") for gpu in gpus),
        *([] if gpus else [("GPU", no_gpu, rebuild_hint())]),
    ]
