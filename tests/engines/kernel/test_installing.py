"""What to type depends on the machine: the ready-made build first, where there is one, with what it costs."""

import platform
import sys
from pathlib import Path

import pytest

from localllm_magics.engines.kernel import installing
from localllm_magics.engines.kernel.installing import install_hint, rebuild_command, rebuild_hint, upgrade_hint

INDEX = "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl"
AMX = "-DCMAKE_C_FLAGS=-fno-dse -DCMAKE_CXX_FLAGS=-fno-dse"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs are scripts here")


class Machine:
    """What a machine is, as far as the commands depend on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, monkeypatch
        monkeypatch.setenv("PATH", str(folder))
        self.become("Linux", "x86_64", cpu="flags : fpu")

    def become(self, system: str, architecture: str, *, cpu: str = "") -> None:
        self._patch.setattr(platform, "system", lambda: system)
        self._patch.setattr(platform, "machine", lambda: architecture)
        self._patch.setattr(installing, "cpu_name", lambda: cpu)

    def add(self, program: str, says: str = "") -> None:
        file = self._folder / program
        file.write_text(f"#!/bin/sh\necho '{says}'\n")
        file.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("program", "says", "build", "flag"),
    [
        pytest.param("nothing", "", "cpu", "", id="CPU"),
        pytest.param("nvidia-smi", "| CUDA Version: 12.4 |", "cu124", "-DGGML_CUDA=ON", id="NVIDIA"),
        pytest.param("nvidia-smi", "| CUDA Version: 12.9 |", "cu125", "-DGGML_CUDA=ON", id="between two"),
        pytest.param("nvidia-smi", "| CUDA Version: 14.0 |", "cu132", "-DGGML_CUDA=ON", id="later than all"),
        pytest.param("nvidia-smi", "no driver", "cu124", "-DGGML_CUDA=ON", id="an unknown version"),
        pytest.param("rocminfo", "", "rocm72", "-DGGML_HIP=ON", id="AMD"),
        pytest.param("vulkaninfo", "", "vulkan", "-DGGML_VULKAN=ON", id="Vulkan"),
    ],
)
def test_the_ready_made_build_for_the_machine_comes_first(
    machine: Machine, program: str, says: str, build: str, flag: str
) -> None:
    machine.add(program, says)

    ready = f'Type: `pip install --prefer-binary "localllm-magics[llama]" {INDEX}/{build}` (ready-made; uses no '
    compiled = f'{flag and f"CMAKE_ARGS={chr(34)}{flag}{chr(34)} "}pip install "localllm-magics[llama]"'
    assert install_hint().startswith(ready)
    assert f"Or the fastest for this machine: `{compiled}` (compiles for some minutes" in install_hint()
    assert f"`pip install --upgrade --prefer-binary llama-cpp-python {INDEX}/{build}`" in upgrade_hint()


def test_it_says_what_a_ready_made_build_costs(machine: Machine) -> None:
    on_the_cpu = install_hint()
    machine.add("nvidia-smi", "CUDA Version: 13.0")

    assert "uses no AVX-512 and AMX on the CPU" in on_the_cpu
    assert "uses no AVX2, AVX-512 and AMX on the CPU" in install_hint()


def test_a_mac_gets_metal(machine: Machine) -> None:
    machine.become("Darwin", "arm64")

    assert f'pip install --prefer-binary "localllm-magics[llama]" {INDEX}/metal` (ready-made). Or' in install_hint()
    assert 'CMAKE_ARGS="-DGGML_METAL=ON" pip install' in install_hint()


@pytest.mark.parametrize(("architecture", "cuda"), [("aarch64", "12.4"), ("x86_64", "11.4")])
def test_where_nothing_is_ready_made_it_is_compiled(machine: Machine, architecture: str, cuda: str) -> None:
    machine.become("Linux", architecture)
    machine.add("nvidia-smi", f"CUDA Version: {cuda}")

    assert install_hint().startswith('Type: `CMAKE_ARGS="-DGGML_CUDA=ON" pip install "localllm-magics[llama]"` (')


def test_a_compiler_gets_all_that_the_machine_needs(machine: Machine) -> None:
    machine.become("Linux", "x86_64", cpu="flags : fpu amx_tile")
    plain = rebuild_command()
    machine.add("nvidia-smi")

    command = "pip install --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
    assert plain == f'CMAKE_ARGS="{AMX}" {command}'
    assert rebuild_command() == f'CMAKE_ARGS="-DGGML_CUDA=ON {AMX}" {command}'


def test_a_machine_without_a_gpu_is_told_how_to_use_one(machine: Machine) -> None:
    hint = rebuild_hint()
    machine.add("rocminfo")

    assert hint.startswith("With an NVIDIA GPU, type: `pip install --force-reinstall --no-deps --prefer-binary ")
    assert f"{INDEX}/cu124`" in hint
    assert 'CMAKE_ARGS="-DGGML_CUDA=ON" pip install --force-reinstall --no-deps --no-cache-dir ' in hint
    assert rebuild_hint().startswith("Type: `pip install ")
    assert f"{INDEX}/rocm72`" in rebuild_hint()
