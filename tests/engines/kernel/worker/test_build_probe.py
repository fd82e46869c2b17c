import json
import sys
import threading
from pathlib import Path

import pytest

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker import build_probe
from localllm_magics.engines.kernel.worker.build_probe import NOTICE, REBUILD, survives, trial_command
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine

SEGFAULT = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.SIGSEGV)"


class Command:
    """A program that writes a line to a file and then does DEED."""

    def __init__(self, folder: Path, deed: str) -> None:
        self._file = folder / "runs"
        program = f"import os, resource, signal, sys, time; open({str(self._file)!r}, 'a').write('x'); {deed}"
        self.line = [sys.executable, "-c", program]

    @property
    def runs(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0


@pytest.mark.parametrize(
    ("deed", "verdict", "runs"),
    [
        pytest.param("pass", True, 1, id="ends well"),
        pytest.param(SEGFAULT, False, 1, id="crashes"),
        pytest.param("os.abort()", False, 1, id="aborts"),
        pytest.param("sys.exit(1)", True, 2, id="an error of Python's is no verdict"),
    ],
)
def test_a_verdict_is_remembered(lib: Library, tmp_path: Path, deed: str, verdict: bool, runs: int) -> None:
    command, cache = Command(tmp_path, deed), tmp_path / "new" / "builds.json"

    verdicts = [survives(lib, command.line, cache, Stop()) for _ in range(2)]

    assert verdicts == [verdict, verdict]
    assert command.runs == runs


def test_a_program_that_does_not_exist_is_no_verdict(lib: Library, tmp_path: Path) -> None:
    assert survives(lib, [str(tmp_path / "nothing")], tmp_path / "builds.json", Stop())
    assert not (tmp_path / "builds.json").exists()


def test_a_program_that_takes_too_long_does_not_survive(
    lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_probe, "SECONDS", 0.01)

    assert not survives(lib, Command(tmp_path, "time.sleep(60)").line, tmp_path / "builds.json", Stop())


def test_a_stop_ends_the_trial_without_a_verdict(lib: Library, tmp_path: Path) -> None:
    command, cache, stop = Command(tmp_path, "time.sleep(60)"), tmp_path / "builds.json", Stop()
    verdicts: list[bool] = []
    worker = threading.Thread(target=lambda: verdicts.append(survives(lib, command.line, cache, stop)))
    worker.start()

    stop.set()
    worker.join()

    assert verdicts == [True]
    assert not cache.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"other": false}', b"\xff\xfe"], ids=["empty", "cut", "list", "other", "binary"]
)
def test_a_cache_that_makes_no_sense_is_written_anew(lib: Library, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "builds.json"
    cache.write_bytes(content)

    assert not survives(lib, Command(tmp_path, SEGFAULT).line, cache, Stop())
    assert False in json.loads(cache.read_text()).values()


def test_only_the_newest_verdicts_are_kept(tmp_path: Path) -> None:
    cache = tmp_path / "builds.json"
    cache.write_text(json.dumps({str(number): True for number in range(1000)}))

    build_probe.remember(cache, "new", verdict=False)

    kept = list(build_probe.verdicts(cache).items())
    assert (len(kept), kept[0], kept[-1]) == (1000, ("1", True), ("new", False))


def test_a_cache_that_cannot_be_written_is_no_error(lib: Library, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert not survives(lib, Command(tmp_path, SEGFAULT).line, tmp_path / "file" / "builds.json", Stop())


def test_the_trial_finds_what_this_process_finds(lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    survives(lib, [sys.executable, "-c", "import only_here"], tmp_path / "builds.json", Stop())

    assert True in json.loads((tmp_path / "builds.json").read_text()).values()


def test_the_build_of_this_machine_is_tried(lib: Library, demo: ModelInfo, tmp_path: Path) -> None:
    assert demo.path is not None
    cache = tmp_path / "builds.json"

    verdict = survives(lib, trial_command(demo.path), cache, Stop())

    assert list(json.loads(cache.read_text()).values()) == [verdict]


def test_a_build_that_crashes_answers_without_repacking_and_says_so(
    lib: Library, demo: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    survives(lib, Command(tmp_path, SEGFAULT).line, build_probe.default_cache(), Stop())

    with fresh_engine(demo) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.error is None
    assert completion.notices == (NOTICE,)
    assert REBUILD in completion.summary()
