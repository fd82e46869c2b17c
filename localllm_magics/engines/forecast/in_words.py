"""What forecasts rest on, in words."""

from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.kernel.cpu_features import cpu_features
from localllm_magics.engines.kernel.installing import rebuild_command


def measured_in_words(calibration: Calibration | None, now: float) -> str:
    """How old CALIBRATION is NOW, as `measured 2 minutes ago`."""
    if calibration is None:
        return "not measured"
    busy = ", while other programs kept this machine busy" if calibration.is_noisy else ""
    return f"measured {_ago(now - calibration.measured_at)}{busy}"


def slow_build_note(system_info: str, cpu: str) -> str:
    """What a build does not use of CPU, and how to change that; empty where it uses all that makes it faster.

    Args:
        system_info: Of the build, `Library.system_info`.
        cpu: Its features, `machine.cpu_name`.
    """
    _, unused = cpu_features(system_info, cpu)
    if not unused:
        return ""
    return f"This build of llama.cpp is slow: it does not use {unused}, which this CPU has. Type: `{rebuild_command()}`"


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        number = int(seconds // length)
        if number > 0:
            return f"{number:,} {unit}{'s' * (number > 1)} ago"
    return "just now"
