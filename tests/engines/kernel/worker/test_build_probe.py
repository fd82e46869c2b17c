import sys
from pathlib import Path

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.build_probe import NOTICE, REBUILD, passes
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults, key_of
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine

SEGFAULT = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.SIGSEGV)"
PASSES = """print('{"event": "passed"}')"""


class Command:
    """A program that writes a line to a file and then does DEED."""

    def __init__(self, folder: Path, deed: str) -> None:
        self._file = folder / "runs"
        program = f"import os, resource, signal, sys, time; open({str(self._file)!r}, 'a').write('x'); {deed}"
        self.line = [sys.executable, "-c", program]

    @property
    def runs(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0


@pytest.fixture
def results(tmp_path: Path) -> ProbeResults:
    return ProbeResults(tmp_path / "probes.json")


@pytest.mark.parametrize(
    ("deed", "passed", "runs"),
    [
        pytest.param(PASSES, True, 1, id="passes"),
        pytest.param(SEGFAULT, False, 1, id="crashes"),
        pytest.param(f"{PASSES}; sys.stdout.flush(); {SEGFAULT}", False, 1, id="crashes at its end"),
        pytest.param("os.abort()", False, 1, id="aborts"),
        pytest.param("sys.exit(1)", True, 2, id="an error of Python's is no result"),
        pytest.param("pass", True, 2, id="another program is no result"),
    ],
)
def test_a_result_is_stored(
    lib: Library, tmp_path: Path, results: ProbeResults, deed: str, passed: bool, runs: int
) -> None:
    command = Command(tmp_path, deed)

    found = [passes(lib, results, Stop(), command=command.line) for _ in range(2)]

    assert found == [passed, passed]
    assert command.runs == runs


def test_a_program_that_does_not_exist_is_no_result(lib: Library, tmp_path: Path, results: ProbeResults) -> None:
    assert passes(lib, results, Stop(), command=[str(tmp_path / "nothing")])
    assert results.get(key_of(lib)) is None


def test_a_probe_that_takes_too_long_does_not_pass(lib: Library, tmp_path: Path, results: ProbeResults) -> None:
    assert not passes(lib, results, Stop(), command=Command(tmp_path, "time.sleep(60)").line, seconds=0.01)


def test_a_probe_that_ran_out_of_memory_says_nothing_about_the_build(
    lib: Library, tmp_path: Path, results: ProbeResults
) -> None:
    with pytest.raises(NotEnoughMemory, match="Memory ran out"):
        passes(lib, results, Stop(), command=Command(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)").line)

    assert results.get(key_of(lib)) is None


def test_a_stop_ends_the_probe_without_a_result(lib: Library, tmp_path: Path, results: ProbeResults) -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        passes(lib, results, stop, command=Command(tmp_path, "time.sleep(60)").line)

    assert results.get(key_of(lib)) is None


def test_the_build_of_this_machine_is_probed(lib: Library, results: ProbeResults) -> None:
    assert passes(lib, results, Stop()) is results.get(key_of(lib))


def test_a_build_that_crashes_answers_without_repacking_and_says_so(
    lib: Library, demo: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ProbeResults().store(key_of(lib), passed=False)

    with fresh_engine(demo) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.error is None
    assert completion.notices == (NOTICE,)
    assert REBUILD in completion.to_plain()
