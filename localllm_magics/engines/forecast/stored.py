"""The speed of this machine and what answers taught about it, kept from one process to the next."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.cache_folder import cache_folder, read_json, remove_file, write_private
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, device_from_json, device_to_json
from localllm_magics.engines.forecast.learning import (
    WIDEST,
    Rate,
    Ratios,
    is_small,
    learned,
    ratios_from_json,
    to_corrections,
)
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.machine import physical_cores
from localllm_magics.engines.kernel.worker.probe_results import key_of

_VERSION = 1
_MOST_BYTES = 1 << 22
_MOST_MACHINES = 8
_LATEST = 1 << 40  # seconds since the epoch, and more than any other number; a damaged file may exceed it
_MOST_SLOW_ANSWERS = 3


def stored_calibration(lib: Library) -> Calibration | None:
    """What was measured on this machine with this build; None before that, and once either has changed."""
    return SpeedStore().get(speed_key(lib))


def speed_key(lib: Library) -> str:
    """Names what rates depend on: the build, the CPU and how much of it we may use, the GPUs."""
    gpus = [f"{device.name} {device.description}" for device in lib.devices() if device.is_gpu]
    return key_of(lib, "speed", physical_cores(), *gpus)


class SpeedStore:
    """Calibrations by `speed_key`, in a file.

    Args:
        path: The file; without it, the user's own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_folder() / "speed.json"

    def __repr__(self) -> str:
        return f"<SpeedStore {self._path}>"

    @property
    def is_empty(self) -> bool:
        """Whether no machine was measured."""
        return not self._read()

    def get(self, key: str) -> Calibration | None:
        """The calibration of the machine KEY, with what answers have taught since."""
        try:
            return _calibration(self._read().get(key))
        except ValueError:
            return None

    def put(self, key: str, calibration: Calibration) -> Calibration:
        """Keep CALIBRATION, and what was measured before where that is not in it, or was measured with less noise.

        What answers have taught is forgotten where a type was measured anew.
        """
        stored, before = self._read().get(key), self.get(key)
        ratios: Ratios = {}
        if before is not None and isinstance(stored, dict):
            is_again = bool(before.cpu.types.keys() & calibration.cpu.types.keys())
            if not is_again or calibration.noise > before.noise:
                ratios = ratios_from_json(stored.get("ratios"))
            calibration = _joined(before, calibration, is_again=is_again)
        self._write(key, _to_json(calibration, ratios))
        return replace(calibration, corrections=to_corrections(ratios))

    def learn(self, key: str, ratios: Mapping[Rate, float], shape: ModelShape, settings: PlanSettings) -> None:
        """Keep that rates of an answer were RATIOS times those that were forecast without correction.

        An answer that is far faster than forecast proves that other programs kept the machine busy when it was
        measured, and a few in a row that are far slower that it is not as fast any more: what was measured is
        forgotten, to be measured again.
        """
        stored = self._read().get(key)
        if not ratios or not isinstance(stored, dict):
            return
        slow = _number(stored.get("slow_answers"), 0.0)
        if not is_small(shape):
            slow = slow + 1 if min(ratios.values()) < 1 / WIDEST else 0.0
            if max(ratios.values()) > WIDEST or slow >= _MOST_SLOW_ANSWERS:
                self._write(key, None)
                return
        known = ratios_from_json(stored.get("ratios"))
        for rate, ratio in ratios.items():
            known = learned(known, rate, shape, settings, ratio)
        self._write(key, {**stored, "ratios": known, "slow_answers": slow})

    def clear(self) -> int:
        """Remove the file; the bytes that were freed."""
        return remove_file(self._path)

    def _read(self) -> Mapping[str, object]:
        stored = read_json(self._path, _MOST_BYTES)
        if not isinstance(stored, dict) or stored.get("version") != _VERSION:
            return {}
        machines = stored.get("machines")
        return machines if isinstance(machines, dict) else {}

    def _write(self, key: str, machine: Mapping[str, object] | None) -> None:
        """Keep MACHINE, or forget it; where that is impossible, it is measured again next time."""
        others = [item for item in self._read().items() if item[0] != key]
        machines = dict([*others, *([] if machine is None else [(key, machine)])][-_MOST_MACHINES:])
        with suppress(OSError):
            write_private(self._path, json.dumps({"version": _VERSION, "machines": machines}).encode())


def _to_json(calibration: Calibration, ratios: Ratios) -> dict[str, object]:
    gpu = calibration.gpu
    return {
        "measured_at": calibration.measured_at,
        "noise": calibration.noise,
        "cpu": device_to_json(calibration.cpu),
        "gpu": gpu and device_to_json(gpu),
        "ratios": ratios,
    }


def _calibration(stored: object) -> Calibration | None:
    """The calibration in STORED.

    Raises:
        ValueError: There is none.
    """
    if not isinstance(stored, dict):
        return None
    gpu = stored.get("gpu")
    return Calibration(
        cpu=device_from_json(stored.get("cpu")),
        gpu=None if gpu is None else device_from_json(gpu),
        measured_at=_number(stored.get("measured_at"), 0.0),
        noise=_number(stored.get("noise"), 1.0),
        corrections=to_corrections(ratios_from_json(stored.get("ratios"))),
    )


def _number(stored: object, otherwise: float) -> float:
    return float(stored) if isinstance(stored, int | float) and 0 < stored < _LATEST else otherwise


def _joined(before: Calibration, new: Calibration, *, is_again: bool) -> Calibration:
    """What is known after NEW: all of it, with the constants and the types of the better measurement of two.

    Args:
        before: What was known.
        new: What was measured now.
        is_again: It has types that were known, and the better of both measurements counts.
    """
    if is_again and new.noise <= before.noise:
        gpu = new.gpu and _with_types(new.gpu, before.gpu)
        return replace(new, cpu=_with_types(new.cpu, before.cpu), gpu=gpu)
    noise = (min if is_again else max)(before.noise, new.noise)
    gpu = before.gpu and _with_types(before.gpu, new.gpu)
    return replace(new, cpu=_with_types(before.cpu, new.cpu), gpu=gpu, noise=noise)


def _with_types(best: DeviceSpeed, other: DeviceSpeed | None) -> DeviceSpeed:
    return best if other is None else replace(best, types={**other.types, **best.types})
