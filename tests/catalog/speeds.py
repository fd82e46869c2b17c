"""The speed of a machine that nobody has measured."""

from dataclasses import fields

from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, TypeSpeed


def speed(*types: str) -> Calibration:
    """That of a machine on which these types were measured."""
    each = TypeSpeed(
        bytes_per_second=1e10, matrix_seconds=1e-9, prompt_bytes_per_second=1e9, expert_bytes_per_second=1e9
    )
    times = {field.name: 1e-9 for field in fields(DeviceSpeed) if field.name != "types"}
    return Calibration(cpu=DeviceSpeed(types=dict.fromkeys(types, each), **times))
