import sys
from pathlib import Path
from types import ModuleType

import pytest

from localllm_magics.engines.kernel.build_files import has_devices, may_have_devices


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(
            ["libggml-base.so", "libggml-cpu.so.0", "libggml-rpc.so", "libllama.so"], False, id="the CPU alone"
        ),
        pytest.param(["libggml-base.dylib", "libggml-blas.dylib", "libggml-cpu.dylib"], False, id="with BLAS"),
        pytest.param(["ggml-base.dll", "ggml-cpu-haswell.dll", "ggml-vulkan.dll"], True, id="Vulkan"),
        pytest.param(["libggml-base.so", "libggml-cuda.so"], True, id="CUDA"),
        pytest.param(["libllama.so"], True, id="all in one file"),
        pytest.param([], True, id="nothing"),
    ],
)
def test_the_files_of_a_build_tell_its_devices(tmp_path: Path, names: list[str], expected: bool) -> None:
    for name in names:
        (tmp_path / name).touch()

    assert has_devices(tmp_path) == expected


def test_a_build_that_is_imported_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", ModuleType("llama_cpp"))

    assert may_have_devices()


def test_without_a_build_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[-1:])

    assert not may_have_devices()


def test_the_files_of_the_installed_build_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llama_cpp"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "lib" / "libggml-cpu.so").touch()
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    before = may_have_devices()
    (package / "lib" / "libggml-metal.dylib").touch()

    assert (before, may_have_devices()) == (False, True)
