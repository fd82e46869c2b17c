import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import EngineCrashed, LoadFailed
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.file_probe import require_survival
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine
from tests.engines.kernel.random_model import Metadata, write_random_model

shell = pytest.mark.skipif(os.name != "posix", reason="the programs are shell scripts")
CPU = LoadOptions(threads=1)
WHERE = "llama.cpp crashed when x was tried in a process of its own"


def describe(path: Path) -> ModelInfo:
    return describe_file(path, reference="x", source="folder")


@pytest.fixture
def copy(demo: ModelInfo, tmp_path: Path) -> ModelInfo:
    """The bundled model where nobody has seen it."""
    assert demo.path is not None
    return describe(Path(shutil.copy(demo.path, tmp_path / "copy.gguf")))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "builds.json"


Be = Callable[[str], Path]


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Be:
    """Lets a program that does DEED stand for Python; the file that counts its runs."""

    def stand_in(deed: str) -> Path:
        runs, program = tmp_path / "runs", tmp_path / "python"
        program.write_text(f"#!/bin/sh\nulimit -c 0\necho run >> '{runs}'\n{deed}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return runs

    return stand_in


def count(runs: Path) -> int:
    return len(runs.read_text().splitlines()) if runs.exists() else 0


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


def test_a_file_that_is_well_is_tried_once_and_answers(
    copy: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with fresh_engine(copy) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.text
    # The build, and the file.
    verdicts = json.loads((tmp_path / "localllm-magics" / "builds.json").read_text())
    assert len(verdicts) == 2


def test_a_file_that_is_refused_is_refused_by_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = write_random_model(tmp_path / "x.gguf", {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": 999_999})

    with fresh_engine(describe(path)) as engine, pytest.raises(LoadFailed, match=r"llama\.cpp refused x\.gguf"):
        list(engine.load(Stop()))


def touched(info: ModelInfo) -> ModelInfo:
    """INFO, whose file has another time."""
    assert info.path is not None
    os.utime(info.path, ns=(1, 1))
    return info


@shell
@pytest.mark.parametrize(
    ("deed", "tries"), [pytest.param("exit 0", 1, id="ends well"), pytest.param("exit 1", 2, id="refused")]
)
def test_what_survived_is_remembered(
    lib: Library,
    copy: ModelInfo,
    cache: Path,
    be: Be,
    deed: str,
    tries: int,
) -> None:
    runs = be(deed)

    for _ in range(2):
        require_survival(lib, copy, CPU, cache, Stop())

    assert count(runs) == tries


@shell
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda info: (info, LoadOptions(gpu_layers="all")), id="on a GPU"),
        pytest.param(lambda info: (replace(info, size_bytes=1), CPU), id="another size"),
        pytest.param(lambda info: (touched(info), CPU), id="written anew"),
    ],
)
def test_what_changed_is_tried_again(
    lib: Library,
    copy: ModelInfo,
    cache: Path,
    be: Be,
    change: Callable[[ModelInfo], tuple[ModelInfo, LoadOptions]],
) -> None:
    runs = be("exit 0")
    require_survival(lib, copy, CPU, cache, Stop())

    info, options = change(copy)
    require_survival(lib, info, options, cache, Stop())

    assert count(runs) == 2


@shell
@pytest.mark.parametrize(
    ("deed", "told"),
    [
        pytest.param("kill -SEGV $$", (f"{WHERE}.", "newer llama.cpp"), id="silent"),
        pytest.param("kill -KILL $$", (f"{WHERE}.", "Perhaps memory ran out"), id="killed"),
        pytest.param(
            "echo first >&2; printf '/home/me/a.cpp:7: GGML_ASSERT(\\033[31mx) failed\\n\\n' >&2; kill -ABRT $$",
            (f"{WHERE}: a.cpp:7: GGML_ASSERT([31mx) failed.", "newer llama.cpp"),
            id="last words",
        ),
        pytest.param(
            "head -c 100000 /dev/zero | tr '\\0' x >&2; kill -ABRT $$",
            (f"{WHERE}: {'x' * 200}.", "newer llama.cpp"),
            id="too many words",
        ),
    ],
)
def test_a_death_is_told_with_the_last_words(
    lib: Library,
    copy: ModelInfo,
    cache: Path,
    be: Be,
    deed: str,
    told: tuple[str, str],
) -> None:
    be(deed)

    with pytest.raises(EngineCrashed) as caught:
        require_survival(lib, copy, CPU, cache, Stop())

    assert caught.value.message == told[0]
    assert told[1] in caught.value.hint
    assert not cache.exists()


@shell
def test_a_stop_ends_the_trial(lib: Library, copy: ModelInfo, cache: Path, be: Be, tmp_path: Path) -> None:
    pipe, stop = tmp_path / "pipe", Stop()
    os.mkfifo(pipe)
    be(f"echo begun > '{pipe}'; exec sleep 600")
    trial = threading.Thread(target=lambda: require_survival(lib, copy, CPU, cache, stop))
    trial.start()
    begun = pipe.read_text()

    stop.set()
    trial.join()

    assert begun == "begun\n"
    assert not cache.exists()


@shell
def test_what_needs_no_trial_or_can_have_none_is_not_tried(
    lib: Library,
    demo: ModelInfo,
    copy: ModelInfo,
    cache: Path,
    be: Be,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = be("kill -ABRT $$")

    for info in (demo, replace(copy, path=None), replace(copy, path=cache.parent / "gone.gguf")):
        require_survival(lib, info, CPU, cache, Stop())
    monkeypatch.setattr(sys, "executable", "")
    require_survival(lib, copy, CPU, cache, Stop())
    monkeypatch.setattr(sys, "executable", str(cache.parent / "nothing"))
    require_survival(lib, copy, CPU, cache, Stop())

    assert count(runs) == 0
