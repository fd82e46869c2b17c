"""Measures how fast this machine computes, in a few seconds and a process of its own."""

import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from localllm_magics.core.errors import EngineCrashed, LocalLLMError, NotEnoughMemory
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, device_from_json
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine_memory import free_memory
from localllm_magics.engines.kernel.worker import build_probe
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults
from localllm_magics.engines.kernel.worker.process import Limits, Record, run_in_subprocess

TYPES = ("Q4_0", "Q4_K", "Q6_K", "Q8_0", "F16")
"""The types of most models; others are measured when one needs them, see `missing_types`."""
_COMMAND = (sys.executable, "-m", "localllm_magics.engines.kernel.worker.speed_probe")
_NEEDED_BYTES = 1e9
_LIMITS = Limits(seconds=120, memory_bytes=4_000_000_000)


def calibrate(
    lib: Library,
    stop: Stop,
    progress: Callable[[float], None] = lambda _: None,
    *,
    types: Collection[str] = TYPES,
    command: Sequence[str] = _COMMAND,
) -> Calibration:
    """Measure the CPU and the GPUs, and store that; what was measured of other types stays.

    Args:
        lib: The build.
        stop: Ends it.
        progress: Called with the part that is done, from 0 to 1.
        types: The types of weights to measure.
        command: The program that measures.

    Raises:
        NotEnoughMemory: Too little is free.
        EngineCrashed: It could not be measured.
        Stopped: STOP was set.
    """
    free = free_memory()
    if free < _NEEDED_BYTES:
        raise NotEnoughMemory(
            f"To measure the speed of this machine takes 1 GB of memory, and {free / 1e9:.1f} GB are free.",
            "Unload a model: %llm unload",
        )
    repack = "repack" if build_probe.passes(lib, ProbeResults(), stop) else "plain"
    found: dict[bool, DeviceSpeed] = {}
    try:
        with run_in_subprocess([*command, repack, *types], stop, _LIMITS) as process:
            for record in process.records():
                _take(record, found, progress)
    except OSError as exc:
        raise _failed(str(exc)) from exc
    if False not in found:
        raise _failed(process.exit.stderr if process.exit else "")
    calibration = Calibration(cpu=found[False], gpu=found.get(True), measured_at=time.time())
    return SpeedStore().put(speed_key(lib), calibration)


def _take(record: Record, found: dict[bool, DeviceSpeed], progress: Callable[[float], None]) -> None:
    """Take in what the process reports."""
    part = record.get("part")
    if record.get("event") == "progress" and isinstance(part, float):
        progress(part)
    if record.get("event") == "device":
        with suppress(ValueError):
            found[record.get("is_gpu") is True] = device_from_json(record.get("speed"))


def _failed(reason: str) -> LocalLLMError:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = "".join(character for character in (lines[-1] if lines else "") if character.isprintable())[:200]
    return EngineCrashed(f"The speed of this machine could not be measured{last and ': '}{last}.", "Type: %llm doctor")
