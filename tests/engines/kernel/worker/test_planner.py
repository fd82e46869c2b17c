import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.core.errors import (
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    NotEnoughMemory,
    SetupError,
    UnsupportedArchitecture,
)
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.planner import exact_plans, llama_placement
from tests.engines.kernel.random_model import write_random_model
from tests.engines.kernel.worker.beside_device import ROOT
from tools.bench.random_model import TINY
from tools.bench.random_model import random_model as tied_model

SETTINGS = PlanSettings(context=1024)
shell = pytest.mark.skipif(os.name != "posix", reason="the programs are shell scripts")


def test_each_of_several_settings_has_its_plan(lib: Library) -> None:
    settings = [SETTINGS, replace(SETTINGS, repack=False), replace(SETTINGS, context=4096)]

    small, plain, large = plans = exact_plans(lib, demo.PATH, settings, Stop())

    assert [plan.settings for plan in plans] == settings
    assert all(plan.is_exact for plan in plans)
    assert large.uses[0].kv_cache == 4 * small.uses[0].kv_cache
    assert large.uses[0].weights == small.uses[0].weights
    assert plain.uses[0].kv_cache == small.uses[0].kv_cache
    assert [use.memory.name for use in small.uses][:1] == ["CPU"]
    assert 0 < small.needed < small.uses[0].memory.free <= small.uses[0].memory.total


def test_no_settings_need_no_plan(lib: Library) -> None:
    assert exact_plans(lib, demo.PATH, [], Stop()) == []


def test_plans_are_what_loads_take(tmp_path: Path) -> None:
    models = [demo.PATH, tied_model(TINY, tmp_path)]
    command = [sys.executable, "-m", "tools.load_check", "--json", *map(str, models)]

    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()

    rows = list(map(json.loads, lines))
    assert len(rows) == 2 * 27
    for row in rows:
        assert row["planned"] == pytest.approx(row["taken"], rel=0.01), row["settings"]
        assert row["logged"] == pytest.approx(row["taken"], rel=0.01), row["settings"]


def test_weights_that_are_mapped_and_repacked_are_there_twice(lib: Library, tmp_path: Path) -> None:
    path = tied_model(TINY, tmp_path)
    settings = [replace(SETTINGS, map_file=mapped, repack=True) for mapped in (False, True)]

    copied, mapped = (plan.uses[0].weights for plan in exact_plans(lib, path, settings, Stop()))

    # Not every CPU repacks them; the embedding, which is the output too, is mapped once.
    size = path.stat().st_size
    assert mapped == copied or size < mapped < copied + size


def test_without_a_gpu_all_stays_on_the_cpu(lib: Library) -> None:
    if lib.supports_gpu:
        pytest.skip("there is a GPU")
    settings = replace(SETTINGS, gpu_layers=3, overrides=("x",))

    assert llama_placement(lib, demo.PATH, settings, Stop()) == SETTINGS


def test_a_file_that_llama_cpp_refuses_is_refused_in_its_words(lib: Library, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(demo.PATH.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight", 1))
    zebra = write_random_model(tmp_path / "zebra.gguf", architecture="zebra")

    with pytest.raises(LoadFailed, match=r"refused broken\.gguf: tensor 'blk\.1\.ffn_up\.weight' not found\."):
        exact_plans(lib, broken, [SETTINGS], Stop())
    with pytest.raises(UnsupportedArchitecture, match=r"'zebra' of zebra\.gguf"):
        exact_plans(lib, zebra, [SETTINGS], Stop())


def test_a_cache_that_cannot_be_is_refused(lib: Library) -> None:
    settings = replace(SETTINGS, kv_type="q8_0", flash_attention=False)

    with pytest.raises(LoadFailed, match="This model cannot have a KV cache of q8_0: quantized V cache"):
        exact_plans(lib, demo.PATH, [settings], Stop())


def test_a_file_that_llama_cpp_dies_of_is_an_error(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "x.gguf", {"llama.expert_count": 8, "llama.expert_used_count": 9})

    with pytest.raises(EngineCrashed, match=r"llama\.cpp crashed when x\.gguf was planned in a subprocess: .*ASSERT"):
        exact_plans(lib, path, [SETTINGS], Stop())


@shell
def test_a_subprocess_that_cannot_be_run_is_an_error(lib: Library, tmp_path: Path) -> None:
    for python in (None, str(tmp_path / "gone")):
        with pytest.raises(SetupError, match=r"demo\.gguf (cannot|could not) be planned"):
            exact_plans(lib, demo.PATH, [SETTINGS], Stop(), python=python)


@shell
@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        pytest.param("exit 1", SetupError, r"There was an error when demo\.gguf .*: Traceback\.", id="error"),
        pytest.param("kill -9 $$", NotEnoughMemory, r"Memory ran out when demo\.gguf was planned", id="killed"),
        pytest.param("kill -6 $$", EngineCrashed, r"llama\.cpp crashed when .*: Traceback\.", id="crash"),
    ],
)
def test_a_subprocess_that_says_nothing_is_an_error(
    lib: Library, tmp_path: Path, end: str, error: type[LocalLLMError], message: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho 'Traceback' >&2\n{end}\n")
    program.chmod(0o755)

    with pytest.raises(error, match=message):
        exact_plans(lib, demo.PATH, [SETTINGS], Stop(), python=str(program))


@shell
def test_a_subprocess_without_measure_is_an_error(lib: Library, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec yes >&2\n")
    program.chmod(0o755)

    with pytest.raises(EngineCrashed, match=r"planned in a subprocess: it took too much output\."):
        exact_plans(lib, demo.PATH, [SETTINGS], Stop(), python=str(program))


@shell
def test_a_plan_can_be_stopped(lib: Library, tmp_path: Path) -> None:
    program, stop = tmp_path / "python", Stop()
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    stop.set()

    with pytest.raises(Stopped):
        exact_plans(lib, demo.PATH, [SETTINGS], stop, python=str(program))
