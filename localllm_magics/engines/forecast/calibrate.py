"""Measures how fast this machine computes, in a few seconds and a process of its own."""

import json
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from localllm_magics.core.errors import NotEnoughMemory, SetupError
from localllm_magics.core.ggml_types import MULTIPLIED_TYPES
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, device_from_json
from localllm_magics.engines.forecast.forecast import missing_types
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine_memory import free_memory
from localllm_magics.engines.kernel.worker import build_probe
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults
from localllm_magics.engines.kernel.worker.process import Exit, Limits, Record, run_in_subprocess

TYPES = ("Q4_0", "Q4_K", "Q6_K", "Q8_0", "F16")
"""The types of most models; others are measured when one needs them, see `missing_types`."""
_COMMAND = (sys.executable, "-m", "localllm_magics.engines.kernel.worker.speed_probe")
_NEEDED_BYTES = 1e9
_MOST_SECONDS = 40  # a tenth of which is usual


def calibrate_for(
    lib: Library,
    shapes: Iterable[ModelShape],
    stop: Stop,
    progress: Callable[[float], None] = lambda _: None,
    *,
    command: Sequence[str] = _COMMAND,
    store: SpeedStore | None = None,
) -> Calibration:
    """The stored calibration, once all that models of these SHAPES need, and llama.cpp knows, was measured.

    What was measured while other programs kept the machine busy is measured again.

    Args:
        lib: The build.
        shapes: Those of models that are to be forecast.
        stop: Ends it.
        progress: See `calibrate`.
        command: See `calibrate`.
        store: See `calibrate`.

    Raises:
        LocalLLMError: See `calibrate`.
        Stopped: STOP was set.
    """
    store = store or SpeedStore()
    known = store.get(speed_key(lib))
    if known is None or known.is_noisy:
        types = TYPES if known is None else known.cpu.types.keys()
        known = calibrate(lib, stop, progress, types=types, command=command, store=store)
    missing = set[str]().union(*(missing_types(shape, known) for shape in shapes))
    others = sorted(missing & MULTIPLIED_TYPES)
    return calibrate(lib, stop, progress, types=others, command=command, store=store) if others else known


def calibrate(
    lib: Library,
    stop: Stop,
    progress: Callable[[float], None] = lambda _: None,
    *,
    types: Collection[str] = TYPES,
    command: Sequence[str] = _COMMAND,
    store: SpeedStore | None = None,
) -> Calibration:
    """Measure the CPU and the GPUs, and store that; what was measured of other types stays.

    Args:
        lib: The build.
        stop: Ends it.
        progress: Called with the part that is done, from 0 to 1.
        types: The types of weights to measure; those that the build does not know are left out.
        command: The program that measures.
        store: Where it is stored; without it, where `stored_calibration` looks.

    Raises:
        NotEnoughMemory: Too little is free.
        SetupError: It could not be measured, or the machine is too busy.
        Stopped: STOP was set.
    """
    free = free_memory()
    if free < _NEEDED_BYTES:
        message = f"To measure the speed of this machine takes 1 GB of memory, and {free / 1e9:.1f} GB are free."
        raise NotEnoughMemory(message, "Unload a model: %llm unload")
    endpoints = [device.description for device in lib.devices() if re.fullmatch(r"RPC\d+", device.name)]
    repack = build_probe.passes(lib, ProbeResults(), stop)
    question = json.dumps({"types": [*types], "repack": repack, "rpc": [*dict.fromkeys(endpoints)]})
    found, end = _run([*command, question], stop, progress)
    cpu, gpu = (found.devices.get(is_gpu) for is_gpu in (False, True))
    if cpu is None:
        raise _error(end)
    calibration = Calibration(cpu=cpu, gpu=gpu, measured_at=time.time(), noise=found.noise)
    return (store or SpeedStore()).put(speed_key(lib), calibration)


@dataclass(slots=True)
class _Found:
    """What the process has reported: the speed of devices, by whether they are GPUs, and the most noise."""

    devices: dict[bool, DeviceSpeed] = field(default_factory=dict)
    noise: float = 1.0


def _run(command: Sequence[str], stop: Stop, progress: Callable[[float], None]) -> tuple[_Found, Exit | None]:
    """What COMMAND has found, and how it ended."""
    found = _Found()
    with suppress(OSError), run_in_subprocess(command, stop, Limits(seconds=_MOST_SECONDS)) as process:
        for record in process.records():
            _take(record, found, progress)
        return found, process.exit
    return found, None


def _error(end: Exit | None) -> SetupError:
    if end is not None and end.exceeded == "time":
        message = (
            f"The speed of this machine could not be measured within {_MOST_SECONDS} s: other programs keep it busy."
        )
        return SetupError(message, "Try again when they have ended.")
    reason = end.reason if end else ""
    message = f"The speed of this machine could not be measured{reason and ': '}{reason}."
    return SetupError(message, "Type: %llm doctor")


def _take(record: Record, found: _Found, progress: Callable[[float], None]) -> None:
    """Take in what the process reports."""
    part, noise = record.get("part"), record.get("noise")
    if record.get("event") == "progress" and isinstance(part, float):
        progress(part)
    if record.get("event") == "device":
        with suppress(ValueError):
            found.devices[record.get("is_gpu") is True] = device_from_json(record.get("speed"))
        if isinstance(noise, float):
            found.noise = max(found.noise, noise)
