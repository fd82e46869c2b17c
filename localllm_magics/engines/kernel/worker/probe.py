"""What the probes have in common: they run in a subprocess, and report that they passed."""

from collections.abc import Sequence

from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.worker.process import Exit, Limits, report, run_in_subprocess

_PASSED = {"event": "passed"}


def run_probe(command: Sequence[str], stop: Stop, limits: Limits) -> Exit | None:
    """Run a probe: it passed, or it crashed, or there is no result, because it could not be run to its end.

    Raises:
        Stopped: STOP was set.
    """
    try:
        with run_in_subprocess(command, stop, limits) as process:
            records = list(process.records())
    except OSError:
        return None
    end = process.exit
    has_result = end is not None and (end.is_crash or (end.is_success and _PASSED in records))
    return end if has_result else None


def report_pass() -> None:
    """Report, from inside a probe, that it passed."""
    report(**_PASSED)
