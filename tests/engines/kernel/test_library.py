import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from localllm_magics.core.errors import EngineNotInstalled, SetupError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.installing import install_hint, upgrade_hint
from localllm_magics.engines.kernel.library import Library, Log, library, open_library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from tests.engines.kernel.worker.beside_device import beside_device

ROOT = Path(__file__).parents[3]
COMPLETE = """
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.api import load

try:
    load("demo")
except LocalLLMError as error:
    print(error.kind, error.message, error.hint, sep="\\n")
"""


def test_there_is_one_library(lib: Library) -> None:
    assert library() is lib
    assert lib.version in repr(lib)


def test_it_knows_itself(lib: Library) -> None:
    assert lib.path.is_file()
    assert "CPU" in lib.system_info
    assert "CPU" in [device.name for device in lib.devices()]
    assert lib.supports_gpu == any(device.is_gpu for device in lib.devices())


def test_its_cpu_has_buffers_in_the_memory_of_the_host(lib: Library) -> None:
    assert lib.buffer_device(lib.buffer_type("CPU")) == ""
    assert lib.buffer_type("no device") == lib.buffer_type("CPU")
    assert [device.buffers for device in lib.devices() if device.name == "CPU"] == ["CPU"]
    assert "CPU" not in lib.gpu_backends()


def test_a_device_of_another_process_has_its_names(tmp_path: Path) -> None:
    found = beside_device("named", tmp_path)

    assert isinstance(found, list)
    name, buffers, device, backends = found
    assert (name, device, backends) == ("RPC0", "RPC0", [])
    assert buffers.startswith("RPC0[127.0.0.1:")


def test_a_server_of_devices_that_does_not_answer_is_an_error(lib: Library) -> None:
    with pytest.raises(SetupError, match=r"No RPC server answers at 127\.0\.0\.1:1\."):
        lib.add_rpc_server("127.0.0.1:1")


def test_its_log_is_collected_and_not_printed(lib: Library, demo: ModelInfo, capfd: pytest.CaptureFixture[str]) -> None:
    with lib.log.collecting() as logged:
        LoadedModel(lib, demo, LoadOptions(threads=1), repack=True, progress=lambda _: None, stop=Stop()).close()

    assert "llama_model_loader" in logged.text
    assert capfd.readouterr() == ("", "")


def test_nothing_is_collected_after_the_block(lib: Library) -> None:
    with lib.log.collecting() as logged:
        lib.log.add("one ")
    lib.log.add("two ")

    assert (logged.text, logged.errors) == ("one ", ())


def test_errors_are_kept_apart() -> None:
    log = Log()

    with log.collecting() as logged:
        log.add("one\n")
        log.add("two\n", is_error=True)
        log.add("three\n", is_error=True)

    assert logged.text == "one\ntwo\nthree\n"
    assert logged.errors == ("two", "three")


def run_with(folder: Path) -> list[str]:
    """What a load says where FOLDER, our package and a few others are all there is to import."""
    for name in ("jinja2", "markupsafe", "platformdirs", "psutil"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        (folder / name).symlink_to(spec.submodule_search_locations[0])
    result = subprocess.run(
        [sys.executable, "-S", "-c", COMPLETE],
        env={"PYTHONPATH": f"{folder}:{ROOT}", "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_a_missing_library_says_what_to_install(tmp_path: Path) -> None:
    assert run_with(tmp_path) == [
        "engine_not_installed",
        "llama-cpp-python is not installed; the kernel engine needs it.",
        install_hint(),
    ]


def failing(error: Exception) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(
            ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp"),
            "llama-cpp-python is not installed; the kernel engine needs it.",
            id="nothing",
        ),
        pytest.param(OSError("no such file"), "llama-cpp-python does not load: no such file", id="no library"),
        pytest.param(RuntimeError("Failed"), "llama-cpp-python does not load: Failed", id="cannot be loaded"),
        pytest.param(
            ModuleNotFoundError("No module named 'diskcache'", name="diskcache"),
            "llama-cpp-python does not load: No module named 'diskcache'",
            id="something it needs",
        ),
    ],
)
def test_a_library_that_does_not_load_says_why(error: Exception, message: str) -> None:
    with pytest.raises(EngineNotInstalled) as caught:
        open_library(failing(error))

    assert (caught.value.message, caught.value.hint) == (message, install_hint())


def test_an_old_library_says_which_is_needed() -> None:
    module = ModuleType("llama_cpp")
    vars(module)["__version__"] = "0.3.35"

    with pytest.raises(EngineNotInstalled) as caught:
        open_library(lambda: module)

    assert caught.value.message == "llama-cpp-python 0.3.35 is too old; 0.3.36 or later is needed."
    assert caught.value.hint == upgrade_hint()
