import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from localllm_magics.core.errors import EngineNotInstalled
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel import library as library_module
from localllm_magics.engines.kernel.library import (
    Library,
    install_hint,
    library,
    open_library,
    rebuild_command,
    rebuild_hint,
)
from localllm_magics.engines.kernel.loaded_model import LoadedModel

ROOT = Path(__file__).parents[3]
COMPLETE = """
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.session import load

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


def test_its_log_is_collected_and_not_printed(lib: Library, demo: ModelInfo, capfd: pytest.CaptureFixture[str]) -> None:
    with lib.log.collecting() as pieces:
        LoadedModel(lib, demo, LoadOptions(threads=1), repack=True, progress=lambda _: None, stop=Stop()).close()

    assert "llama_model_loader" in "".join(pieces)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_collected_after_the_block(lib: Library) -> None:
    with lib.log.collecting() as pieces:
        lib.log.add("one ")
    lib.log.add("two ")

    assert pieces == ["one "]


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
    assert "pip install --upgrade llama-cpp-python" in caught.value.hint


def test_the_hint_is_a_command() -> None:
    assert 'pip install "localllm-magics[llama]"' in install_hint()


AMX = "-DCMAKE_C_FLAGS=-fno-dse -DCMAKE_CXX_FLAGS=-fno-dse"


@pytest.mark.parametrize(
    ("programs", "cpu", "flags"),
    [
        pytest.param(["nvidia-smi"], "", "-DGGML_CUDA=ON", id="NVIDIA"),
        pytest.param(["rocminfo"], "", "-DGGML_HIP=ON", id="AMD"),
        pytest.param([], "flags : fpu amx_tile", AMX, id="AMX"),
        pytest.param(["nvidia-smi"], "flags : fpu amx_tile", f"-DGGML_CUDA=ON {AMX}", id="NVIDIA and AMX"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are other programs")
def test_every_hint_has_all_that_the_machine_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: list[str], cpu: str, flags: str
) -> None:
    for program in programs:
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library_module, "cpu_name", lambda: cpu)

    assert install_hint().startswith(f'Type: CMAKE_ARGS="{flags}" pip install "localllm-magics[llama]" (')
    assert rebuild_command().startswith(f'CMAKE_ARGS="{flags}" pip install --force-reinstall ')
    assert not programs or rebuild_hint().startswith(f"Type: {rebuild_command()} (")


def test_a_machine_without_a_gpu_is_told_how_to_compile_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library_module, "cpu_name", lambda: "flags : fpu amx_tile")
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    assert f'CMAKE_ARGS="-DGGML_CUDA=ON {AMX}" pip' in rebuild_hint()


def test_a_mac_gets_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_module, "cpu_name", lambda: "")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")

    assert 'CMAKE_ARGS="-DGGML_METAL=ON" pip' in install_hint()


def test_a_machine_that_needs_nothing_gets_a_plain_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library_module, "cpu_name", lambda: "flags : fpu")
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    assert rebuild_command().startswith("pip install --force-reinstall ")
