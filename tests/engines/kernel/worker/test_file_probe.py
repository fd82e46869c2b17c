import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import EngineCrashed, LoadFailed, NotEnoughMemory
from localllm_magics.core.model_info import FileStamp, ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.file_probe import require_pass
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine
from tests.engines.kernel.random_model import Metadata, write_random_model

shell = pytest.mark.skipif(os.name != "posix", reason="the programs are shell scripts")
CPU = LoadOptions(threads=1)
PASSES = """echo '{"event": "passed"}'"""
WHERE = "llama.cpp crashed when x was probed in a subprocess"


def describe(path: Path) -> ModelInfo:
    return describe_file(path, reference="x", source="folder")


@pytest.fixture
def copy(demo: ModelInfo, tmp_path: Path) -> ModelInfo:
    """The bundled model where nobody has seen it."""
    assert demo.path is not None
    return describe(Path(shutil.copy(demo.path, tmp_path / "copy.gguf")))


class Program:
    """Runs in the place of Python, and does DEED."""

    def __init__(self, folder: Path, deed: str) -> None:
        self._runs, self._results = folder / "runs", ProbeResults(folder / "probes.json")
        self.path = folder / "python"
        self.path.write_text(f"#!/bin/sh\nulimit -c 0\necho run >> '{self._runs}'\n{deed}\n")
        self.path.chmod(0o755)

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines()) if self._runs.exists() else 0

    def probe(self, lib: Library, info: ModelInfo, options: LoadOptions = CPU, stop: Stop | None = None) -> None:
        require_pass(lib, info, options, self._results, stop or Stop(), python=str(self.path))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        pytest.param({"llama.expert_count": 8, "llama.expert_used_count": 9}, "GGML_ASSERT", id="experts"),
        pytest.param({"llama.rope.scaling.type": "zzz"}, "GGML_ASSERT", id="rope scaling"),
        pytest.param({"tokenizer.ggml.model": "llama"}, "", id="no byte tokens"),
    ],
)
def test_a_file_that_llama_cpp_dies_of_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: Metadata, words: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = KernelEngine(describe(write_random_model(tmp_path / "x.gguf", metadata)), CPU)

    for _ in range(2):
        with pytest.raises(EngineCrashed) as caught:
            list(engine.load(Stop()))

        assert caught.value.message.startswith(WHERE)
        assert words in caught.value.message
        assert "/" not in caught.value.message
        assert "another file of the model" in caught.value.hint
    engine.close()


def test_a_sound_file_is_probed_once_and_answers(
    copy: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with fresh_engine(copy) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.text
    # The build, and the file.
    assert len(json.loads((tmp_path / "localllm-magics" / "probes.json").read_text())) == 2


def test_a_file_that_is_refused_is_refused_by_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_random_model(tmp_path / "x.gguf", {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": 999_999})

    with fresh_engine(describe(path)) as engine, pytest.raises(LoadFailed, match=r"llama\.cpp refused x\.gguf"):
        list(engine.load(Stop()))


def test_a_file_that_cannot_generate_passes_and_is_refused_by_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_random_model(tmp_path / "x.gguf", {"llama.attention.causal": False})

    with fresh_engine(describe(path)) as engine, pytest.raises(LoadFailed, match="cannot write text"):
        list(engine.load(Stop()))


def touched(info: ModelInfo) -> ModelInfo:
    """INFO, whose file has another time."""
    assert info.path is not None
    os.utime(info.path, ns=(1, 1))
    return info


@shell
@pytest.mark.parametrize(
    ("deed", "runs"),
    [
        pytest.param(PASSES, 1, id="passes"),
        pytest.param("exit 1", 2, id="refused"),
        pytest.param("exit 0", 2, id="another program"),
    ],
)
def test_a_pass_is_stored(lib: Library, copy: ModelInfo, tmp_path: Path, deed: str, runs: int) -> None:
    program = Program(tmp_path, deed)

    for _ in range(2):
        program.probe(lib, copy)

    assert program.runs == runs


@shell
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda info: (info, LoadOptions(gpu_layers="all")), id="on a GPU"),
        pytest.param(lambda info: (replace(info, size_bytes=1), CPU), id="another size"),
        pytest.param(lambda info: (touched(info), CPU), id="written anew"),
    ],
)
def test_what_changed_is_probed_again(
    lib: Library,
    copy: ModelInfo,
    tmp_path: Path,
    change: Callable[[ModelInfo], tuple[ModelInfo, LoadOptions]],
) -> None:
    program = Program(tmp_path, PASSES)
    program.probe(lib, copy)

    program.probe(lib, *change(copy))

    assert program.runs == 2


@shell
def test_a_model_of_which_another_part_was_written_anew_is_probed_again(
    lib: Library, copy: ModelInfo, tmp_path: Path
) -> None:
    program, part = Program(tmp_path, PASSES), tmp_path / "part"
    part.touch()
    split = replace(copy, files=(*copy.files, FileStamp(path=part, size_bytes=0, modified_ns=0, inode=0)))
    program.probe(lib, split)

    os.utime(part, ns=(1, 1))
    program.probe(lib, split)

    assert program.runs == 2


@shell
def test_what_the_system_kills_has_run_out_of_memory(lib: Library, copy: ModelInfo, tmp_path: Path) -> None:
    program = Program(tmp_path, "kill -KILL $$")

    for _ in range(2):
        with pytest.raises(NotEnoughMemory, match="Memory ran out when x was probed"):
            program.probe(lib, copy)
    assert program.runs == 2


@shell
@pytest.mark.parametrize(
    ("deed", "message", "hint"),
    [
        pytest.param("kill -SEGV $$", f"{WHERE}.", "newer llama.cpp", id="silent"),
        pytest.param(
            "echo first >&2; printf '/home/me/a.cpp:7: GGML_ASSERT(\\033[31mx) failed\\n\\n' >&2; kill -ABRT $$",
            f"{WHERE}: a.cpp:7: GGML_ASSERT([31mx) failed.",
            "newer llama.cpp",
            id="reason",
        ),
        pytest.param(
            "head -c 100000 /dev/zero | tr '\\0' x >&2; kill -ABRT $$",
            f"{WHERE}: {'x' * 200}.",
            "newer llama.cpp",
            id="long reason",
        ),
    ],
)
def test_a_crash_is_an_error_with_the_reason(
    lib: Library, copy: ModelInfo, tmp_path: Path, deed: str, message: str, hint: str
) -> None:
    program = Program(tmp_path, deed)

    for _ in range(2):
        with pytest.raises(EngineCrashed) as caught:
            program.probe(lib, copy)

        assert caught.value.message == message
        assert hint in caught.value.hint
    assert program.runs == 2


@shell
def test_a_stop_ends_the_probe(lib: Library, copy: ModelInfo, tmp_path: Path) -> None:
    pipe, stop, outcome = tmp_path / "pipe", Stop(), list[type[BaseException]]()
    os.mkfifo(pipe)
    program = Program(tmp_path, f"echo begun > '{pipe}'; exec sleep 600")

    def probe() -> None:
        try:
            program.probe(lib, copy, stop=stop)
        except Stopped:
            outcome.append(Stopped)

    worker = threading.Thread(target=probe)
    worker.start()
    begun = pipe.read_text()

    stop.set()
    worker.join()

    assert (begun, outcome) == ("begun\n", [Stopped])


@shell
def test_what_needs_no_probe_or_can_have_none_is_not_probed(
    lib: Library, demo: ModelInfo, copy: ModelInfo, tmp_path: Path
) -> None:
    program, results = Program(tmp_path, "kill -ABRT $$"), ProbeResults(tmp_path / "probes.json")

    for info in (demo, replace(copy, path=None), replace(copy, path=tmp_path / "gone.gguf")):
        program.probe(lib, info)
    for python in (None, "", str(tmp_path / "nothing")):
        require_pass(lib, copy, CPU, results, Stop(), python=python)

    assert program.runs == 0
