from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.core.memory_plan import DeviceMemory, MachineMemory, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.auto_placement import llama_places
from localllm_magics.engines.kernel.library import Library
from tests.engines.kernel.worker.beside_device import beside_device

GB = 10**9
HOST = DeviceMemory(name="CPU", free=8 * GB, total=8 * GB, is_host=True)
SETTINGS = PlanSettings(context=1024, gpu_layers=3)


def machine(free: int) -> MachineMemory:
    return MachineMemory(host=HOST, devices=(DeviceMemory(name="CUDA0", free=free, total=free),))


def test_a_model_that_surely_fits_goes_there_without_a_plan(lib: Library, demo: ModelInfo) -> None:
    found = llama_places(lib, demo, machine(2 * GB), SETTINGS, stop=Stop())

    assert found == replace(SETTINGS, gpu_layers=7)


def test_else_llama_cpp_is_asked(lib: Library, demo: ModelInfo) -> None:
    if lib.supports_gpu:
        pytest.skip("there is a GPU")

    # It knows no such device.
    assert llama_places(lib, demo, machine(GB), SETTINGS, stop=Stop()) == replace(SETTINGS, gpu_layers=0)


def test_a_model_without_a_file_stays_as_it_is(lib: Library, demo: ModelInfo) -> None:
    assert llama_places(lib, replace(demo, path=None, shape=None), machine(GB), SETTINGS, stop=Stop()) == SETTINGS


def test_a_model_is_loaded_where_llama_cpp_places_it(random_model: Path) -> None:
    found = beside_device("loaded", random_model)

    assert found == [
        ["RPC0", 9],
        ["CPU + RPC0", 2, "--cpu-moe changes nothing: x has no experts."],
        ["CPU", 0],
    ]


def test_the_device_says_why_it_takes_no_more(random_model: Path) -> None:
    found = beside_device("refused", random_model)

    assert isinstance(found, list)
    kind, message, hint = found
    assert (kind, hint) == ("not_enough_memory", "Try --ctx 33554432.")
    assert "could not be allocated: failed to allocate RPC0[127.0.0.1:" in message
