"""The supervisor by itself, with the site packages that measure it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.engines.llamafile import supervisor
from tests.engines.llamafile.programs import wait_until
from tests.processes import descendants, is_gone, started

SUPERVISOR = [sys.executable, supervisor.__file__]
FOREVER = ["sleep", "1000"]


def output_of(process: "subprocess.Popen[str]") -> str:
    """What the supervisor writes until it exits."""
    assert process.stdout is not None
    return re.sub(r"started \d+", "started PID", process.stdout.read())


def test_the_end_of_its_input_stops_the_server() -> None:
    with started([*SUPERVISOR, *FOREVER]) as process:
        assert process.stdin is not None
        process.stdin.close()

        assert output_of(process) == "started PID\nexited -15\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_server(number: signal.Signals) -> None:
    with started([*SUPERVISOR, *FOREVER]) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("started ")

        process.send_signal(number)

        assert output_of(process) == "exited -15\n"


def test_its_input_may_hold_anything() -> None:
    with started([*SUPERVISOR, *FOREVER]) as process:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.close()

        assert output_of(process) == "started PID\nexited -15\n"


def test_it_exits_with_the_server() -> None:
    with started([*SUPERVISOR, "sh", "-c", "exit 3"]) as process:
        assert output_of(process) == "started PID\nexited 3\n"


def test_a_command_that_cannot_be_executed_has_its_usual_status() -> None:
    with started([*SUPERVISOR, "/nowhere/program"]) as process:
        assert output_of(process) == "exited 126\n"


def test_a_large_log_is_emptied(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    os.truncate(log, (1 << 26) + 1)

    with started(["sh", "-c", f'exec "$0" "$@" 2>>{log}', *SUPERVISOR, *FOREVER]) as process:
        wait_until(lambda: log.stat().st_size == 0)
        assert process.stdin is not None
        process.stdin.close()

        assert output_of(process).endswith("exited -15\n")


def test_what_the_server_started_is_killed() -> None:
    with started([*SUPERVISOR, "sh", "-c", "trap '' TERM; sleep 1000 & echo $! >&2; trap - TERM; wait"]) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline().split()[1])
        wait_until(lambda: len(descendants(server)) == 1)
        (child,) = descendants(server)

        process.send_signal(signal.SIGTERM)

        assert output_of(process) == "exited -15\n"
        assert is_gone(child.pid)
