"""The speed of this machine and what answers taught about it, kept from one process to the next."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.cache_folder import cache_folder, open_regular, write_private
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
_LATEST = 1 << 40  # seconds since the epoch, which a damaged file may exceed


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
        """Keep CALIBRATION; types that were measured before, and are not in it, stay.

        What answers have taught is forgotten where a type was measured anew.
        """
        stored, before = self._read().get(key), self.get(key)
        ratios: Ratios = {}
        if before is not None and isinstance(stored, dict):
            if not before.cpu.types.keys() & calibration.cpu.types.keys():
                ratios = ratios_from_json(stored.get("ratios"))
            calibration = replace(
                calibration,
                cpu=_with_types(calibration.cpu, before.cpu),
                gpu=calibration.gpu and _with_types(calibration.gpu, before.gpu),
            )
        self._write(key, _to_json(calibration, ratios))
        return replace(calibration, corrections=to_corrections(ratios))

    def learn(self, key: str, ratios: Mapping[Rate, float], shape: ModelShape, settings: PlanSettings) -> None:
        """Keep that rates of an answer were RATIOS times those that were forecast without correction.

        An answer that is far faster than forecast proves that other programs kept the machine busy when it was
        measured: that is forgotten, to be measured again.
        """
        stored = self._read().get(key)
        if not ratios or not isinstance(stored, dict):
            return
        if max(ratios.values()) > WIDEST and not is_small(shape):
            self._write(key, None)
            return
        known = ratios_from_json(stored.get("ratios"))
        for rate, ratio in ratios.items():
            known = learned(known, rate, shape, settings, ratio)
        self._write(key, {**stored, "ratios": known})

    def clear(self) -> int:
        """Remove the file; the bytes that were freed."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return 0
        return size

    def _read(self) -> Mapping[str, object]:
        try:
            with open_regular(self._path) as file:
                stored = json.loads(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}
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
    measured_at, gpu = stored.get("measured_at"), stored.get("gpu")
    return Calibration(
        cpu=device_from_json(stored.get("cpu")),
        gpu=None if gpu is None else device_from_json(gpu),
        measured_at=float(measured_at) if isinstance(measured_at, int | float) and 0 < measured_at < _LATEST else 0.0,
        corrections=to_corrections(ratios_from_json(stored.get("ratios"))),
    )


def _with_types(new: DeviceSpeed, old: DeviceSpeed | None) -> DeviceSpeed:
    return new if old is None else replace(new, types={**old.types, **new.types})
