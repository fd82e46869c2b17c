import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.worker.process import Exit, Limits, run_in_subprocess, run_probe

WORKER = "from localllm_magics.engines.kernel.worker.process import begin_worker, report_pass; begin_worker(); "
NO_LIMITS = Limits()
FOR_EVER = "import time; time.sleep(600)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def run(program: str, limits: Limits = NO_LIMITS) -> Exit:
    """The exit of a PROGRAM in Python."""
    return run_in_subprocess(python(program), Stop(), limits)


def test_a_worker_reports_that_it_passed() -> None:
    end = run_probe(python(f"{WORKER}report_pass()"), Stop(), NO_LIMITS)

    assert end is not None
    assert (end.code, end.is_success, end.is_crash) == (0, True, False)


@pytest.mark.parametrize(
    ("written", "has_passed"),
    [
        pytest.param(b'llama says hello\n{"event": "passed"}\n', True, id="other lines"),
        pytest.param(b'\xff\xfe\n\n{"event": "passed"}\n', True, id="no text"),
        pytest.param(b"x" * 3_000_000 + b'\n{"event": "passed"}\n', True, id="long line"),
        pytest.param(b'{"event": "passed"', False, id="half a line"),
        pytest.param(b'{"event": "begun"}\n', False, id="another report"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_only_a_report_tells_that_it_passed(tmp_path: Path, written: bytes, has_passed: bool) -> None:
    file = tmp_path / "written"
    file.write_bytes(written)

    end = run_probe(python(f"import sys; sys.stdout.buffer.write(open({str(file)!r}, 'rb').read())"), Stop(), NO_LIMITS)

    assert (end is not None) == has_passed


@pytest.mark.parametrize(
    ("program", "code", "is_crash"),
    [
        pytest.param("pass", 0, False, id="success"),
        pytest.param("import sys; sys.exit(3)", 3, False, id="status"),
        pytest.param("1 / 0", 1, False, id="exception"),
        pytest.param(f"{WORKER}import os; os.abort()", -6, True, id="abort"),
        pytest.param(f"{WORKER}import ctypes; ctypes.string_at(0)", -11, True, id="segmentation fault"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no signals")
def test_the_exit_says_how_it_ended(program: str, code: int, is_crash: bool) -> None:
    end = run(program)

    assert (end.code, end.is_success, end.is_crash) == (code, code == 0, is_crash)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_exit_has_the_end_of_what_was_written(name: str) -> None:
    end = run(f"import sys; sys.{name}.write('x' * 20_000 + 'the end')")

    assert getattr(end, name) == "x" * (10_000 - len("the end")) + "the end"


@pytest.mark.parametrize(
    ("program", "limits", "exceeded"),
    [
        pytest.param(FOR_EVER, Limits(seconds=0.01), "time", id="time"),
        pytest.param(f"held = b'x' * 300_000_000; {FOR_EVER}", Limits(memory_bytes=200_000_000), "memory", id="memory"),
        pytest.param("while True: print({})", Limits(output_bytes=1000), "output", id="standard output"),
        pytest.param(
            f"import sys; sys.stderr.write('x' * 2000); sys.stderr.flush(); {FOR_EVER}",
            Limits(output_bytes=1000),
            "output",
            id="standard error",
        ),
    ],
)
def test_a_process_that_exceeds_a_limit_is_killed(program: str, limits: Limits, exceeded: str) -> None:
    end = run(program, limits)

    assert (end.exceeded, end.is_success, end.is_crash) == (exceeded, False, True)


def test_a_mapped_file_is_no_memory_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(300_000_000))
    program = (
        f"import mmap; file = open({str(file)!r}, 'rb'); held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ);"
        "sum(held[::4096]); import time; time.sleep(0.3)"
    )

    end = run(program, Limits(memory_bytes=200_000_000))

    assert end.is_success


class Interrupted(Stop):
    """Raises ERROR where somebody looks at it, once the process with the number in FILE runs."""

    def __init__(self, file: Path, error: type[BaseException]) -> None:
        super().__init__()
        self._file, self._error = file, error

    def check(self) -> None:
        if self._file.exists() and self._file.read_text().endswith("\n"):
            raise self._error


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_kills_and_reaps_it(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "process"
    program = f"{WORKER}import os, pathlib; pathlib.Path({str(file)!r}).write_text(f'{{os.getpid()}}\\n'); {FOR_EVER}"

    with pytest.raises(error):
        run_in_subprocess(python(program), Interrupted(file, error))

    assert not psutil.pid_exists(int(file.read_text()))


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        run_in_subprocess([str(tmp_path / "nothing")], Stop())


def test_it_finds_what_this_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    end = run("import only_here")

    assert end.is_success


def test_what_lies_in_the_working_folder_hides_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("print('mine')")
    (tmp_path / "only_here.py").touch()
    monkeypatch.chdir(tmp_path)

    end = run_in_subprocess([sys.executable, "-m", "localllm_magics.engines.kernel.worker.build_probe"], Stop())

    assert (end.code, "mine" in end.stdout) == (0, False)
    assert run("import only_here").is_success


PARENT = """
import sys

from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.worker.process import run_in_subprocess

run_in_subprocess([sys.executable, "-c", sys.argv[1]], Stop())
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no named pipes")
def test_a_worker_ends_when_its_parent_was_killed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    worker = f"{WORKER}import os, pathlib; pathlib.Path({str(pipe)!r}).write_text(str(os.getpid())); {FOR_EVER}"
    with subprocess.Popen([*python(PARENT), worker]) as parent:
        child = psutil.Process(int(pipe.read_text()))
        parent.kill()

    assert child.wait(60) is None


def test_processes_may_run_at_once() -> None:
    exits: list[Exit] = []
    threads = [threading.Thread(target=lambda: exits.append(run("pass"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert exits == [Exit(code=0)] * 3
