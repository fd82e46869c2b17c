import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.worker.process import Exit, Limits, run_in_subprocess, run_probe

REPORT = "from localllm_magics.engines.kernel.worker.process import begin_worker, report; begin_worker(); "
NO_LIMITS = Limits()
FOR_EVER = "import time; time.sleep(600)"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def run(program: str, limits: Limits = NO_LIMITS) -> tuple[list[Mapping[str, object]], Exit]:
    """The records and the exit of a PROGRAM in Python."""
    with run_in_subprocess(python(program), Stop(), limits) as process:
        records = list(process.records())
    assert process.exit is not None
    return records, process.exit


def test_records_come_in_their_order() -> None:
    records, end = run(f"{REPORT}[report(event='step', number=number) for number in range(3)]")

    assert records == [{"event": "step", "number": number} for number in range(3)]
    assert (end, end.is_success, end.is_crash) == (Exit(code=0), True, False)


def test_a_record_comes_while_the_process_runs() -> None:
    program = f"{REPORT}import sys; report(event='begun'); {FOR_EVER}"

    with run_in_subprocess(python(program), Stop()) as process:
        first = next(process.records())
        running = repr(process)

    assert first == {"event": "begun"}
    assert running.endswith(" running>")


@pytest.mark.parametrize(
    ("written", "records"),
    [
        pytest.param("llama says hello\n{}\n", [{}], id="other lines"),
        pytest.param("[1]\n7\nnull\n", [], id="other JSON"),
        pytest.param('{"a": 1}\n{"b', [{"a": 1}], id="half a line"),
        pytest.param("\n\n{}\n", [{}], id="empty lines"),
        pytest.param("[" * 100_000 + "\n{}\n", [{}], id="deep nesting"),
        pytest.param('"' + "x" * 3_000_000 + '"\n{}\n', [{}], id="long line"),
        pytest.param("\\xff\\xfe\n{}\n", [{}], id="no text"),
    ],
)
def test_what_is_no_record_is_skipped(tmp_path: Path, written: str, records: list[Mapping[str, object]]) -> None:
    file = tmp_path / "written"
    file.write_bytes(written.encode().replace(b"\\xff\\xfe", b"\xff\xfe"))

    found, end = run(f"import sys; sys.stdout.write(open({str(file)!r}, errors='surrogateescape').read())")

    assert found == records
    assert end.code in {0, 1}


@pytest.mark.parametrize(
    ("program", "code", "is_crash"),
    [
        pytest.param("pass", 0, False, id="success"),
        pytest.param("import sys; sys.exit(3)", 3, False, id="status"),
        pytest.param("1 / 0", 1, False, id="exception"),
        pytest.param(f"{REPORT}import os; os.abort()", -6, True, id="abort"),
        pytest.param(f"{REPORT}import ctypes; ctypes.string_at(0)", -11, True, id="segmentation fault"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no signals")
def test_the_exit_says_how_it_ended(program: str, code: int, is_crash: bool) -> None:
    _, end = run(program)

    assert (end.code, end.is_success, end.is_crash) == (code, code == 0, is_crash)


def test_the_exit_has_the_end_of_the_standard_error() -> None:
    _, end = run("import sys; sys.stderr.write('x' * 20_000 + 'the end')")

    assert end.stderr == "x" * (10_000 - len("the end")) + "the end"


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
    _, end = run(program, limits)

    assert (end.exceeded, end.is_success, end.is_crash) == (exceeded, False, True)


def test_a_mapped_file_is_no_memory_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(300_000_000))
    program = (
        f"import mmap; file = open({str(file)!r}, 'rb'); held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ);"
        "sum(held[::4096]); import time; time.sleep(0.3)"
    )

    _, end = run(program, Limits(memory_bytes=200_000_000))

    assert end.is_success


def test_a_stop_ends_it() -> None:
    stop = Stop()
    with run_in_subprocess(python(f"{REPORT}report(); {FOR_EVER}"), stop) as process:
        records = process.records()
        next(records)
        stop.set()

        with pytest.raises(Stopped):
            next(records)

    assert process.exit is None
    assert not psutil.pid_exists(number_of(repr(process)))


def number_of(name: str) -> int:
    """The process in the repr of a `Subprocess`."""
    return int(name.split()[1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_the_block_kills_and_reaps_it(error: type[BaseException]) -> None:
    names: list[str] = []

    def fail() -> None:
        with run_in_subprocess(python(FOR_EVER), Stop()) as process:
            names.append(repr(process))
            raise error

    with pytest.raises(error):
        fail()
    assert not psutil.pid_exists(number_of(names[0]))


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"), run_in_subprocess([str(tmp_path / "nothing")], Stop()):
        pass


def test_it_finds_what_this_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    _, end = run("import only_here")

    assert end.is_success


PARENT = """
import sys

from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.worker.process import run_in_subprocess

with run_in_subprocess([sys.executable, "-c", sys.argv[1]], Stop()) as process:
    for record in process.records():
        print(record["process"], flush=True)
"""


def test_a_worker_ends_when_its_parent_was_killed() -> None:
    worker = f"{REPORT}import os; report(process=os.getpid()); {FOR_EVER}"
    with subprocess.Popen([*python(PARENT), worker], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    assert child.wait(60) is None


def test_processes_may_run_at_once() -> None:
    exits: list[Exit] = []
    threads = [threading.Thread(target=lambda: exits.append(run("pass")[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert exits == [Exit(code=0)] * 3


@pytest.mark.parametrize(
    ("program", "is_result"),
    [
        pytest.param(f"{REPORT}report(event='passed')", True, id="passed"),
        pytest.param(f"{REPORT}report(event='begun')", False, id="another report"),
        pytest.param("", False, id="nothing"),
        pytest.param(f"{REPORT}report(event='passed'); raise SystemExit(1)", False, id="an error of Python's"),
        pytest.param(f"{REPORT}import os; os.abort()", True, id="crashed"),
    ],
)
def test_a_probe_passes_or_crashes_or_has_no_result(program: str, is_result: bool) -> None:
    assert (run_probe(python(program), Stop(), NO_LIMITS) is not None) == is_result


def test_a_probe_that_cannot_be_started_has_no_result(tmp_path: Path) -> None:
    assert run_probe([str(tmp_path / "nothing")], Stop(), NO_LIMITS) is None


def test_what_lies_in_the_working_folder_hides_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('mine')")
    (tmp_path / "only_here.py").touch()
    monkeypatch.chdir(tmp_path)

    end = run_probe([sys.executable, "-m", "localllm_magics.engines.kernel.worker.build_probe"], Stop(), NO_LIMITS)

    assert end is not None
    assert "mine" not in end.stderr
    assert run("import only_here")[1].is_success


def test_it_runs_where_the_running_folder_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    _, end = run(f"{REPORT}report(event='passed')")

    assert end.is_success


@pytest.mark.parametrize(
    ("end", "ran_out"),
    [
        pytest.param(Exit(code=-9), True, id="killed by the system"),
        pytest.param(Exit(code=-9, exceeded="memory"), True, id="killed for its memory"),
        pytest.param(Exit(code=-9, exceeded="time"), False, id="killed for its time"),
        pytest.param(Exit(code=-6), False, id="aborted"),
        pytest.param(Exit(code=0), False, id="success"),
    ],
)
def test_the_exit_says_whether_memory_ran_out(end: Exit, ran_out: bool) -> None:
    assert end.ran_out_of_memory == ran_out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system ends no process to get memory")
def test_it_is_ended_before_this_process_where_memory_runs_out() -> None:
    records, _ = run(f"{REPORT}report(score=open('/proc/self/oom_score_adj').read().strip())")

    assert records == [{"score": "1000"}]
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"
