"""The team of threads that another library's use of OpenMP left is given back, where llama.cpp uses OpenMP too."""

import ctypes
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from localllm_magics.engines.kernel.idle_threads import give_back_idle_threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libgomp is of Linux")
COUNTING = """
import ctypes, os
from localllm_magics.engines.kernel.idle_threads import give_back_idle_threads

def threads():
    return len(os.listdir("/proc/self/task"))

give_back_idle_threads()
try:
    gomp = ctypes.CDLL("libgomp.so.1")
except OSError:
    raise SystemExit("no libgomp")
alone = threads()
work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
# Python's lock is kept: the other threads of the team have nothing to do with it, for they only run strlen.
gomp.GOMP_parallel(ctypes.CDLL(None).strlen, ctypes.c_char_p(b""), 4, 0)
with_team = threads()
give_back_idle_threads()
for _ in range(1000):
    if threads() == alone:
        break
    os.sched_yield()
print(with_team - alone, threads() - alone)
"""


def build(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    """A build of llama.cpp that finds FUNCTIONS."""
    module = ModuleType("llama_cpp.llama_cpp")
    vars(module)["_lib"] = SimpleNamespace(**functions)
    monkeypatch.setitem(sys.modules, "llama_cpp.llama_cpp", module)


def test_the_runtime_that_the_build_is_linked_to_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    build(monkeypatch, omp_pause_resource_all=asked.append)

    give_back_idle_threads()

    assert asked == [2]


def test_the_runtime_of_llvm_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    build(monkeypatch, omp_pause_resource_all=asked.append, __kmpc_fork_call=None)

    give_back_idle_threads()

    assert asked == []


def test_a_build_without_openmp_has_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    build(monkeypatch)

    give_back_idle_threads()


def test_before_the_build_is_loaded_the_system_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llama_cpp.llama_cpp", raising=False)
    opened: list[str] = []

    def open_library(name: str, mode: int) -> SimpleNamespace:
        opened.append(name)
        raise OSError("not loaded")

    monkeypatch.setattr(ctypes, "CDLL", open_library)

    give_back_idle_threads()

    assert opened == ["libgomp.so.1"]


def test_the_team_of_the_calling_thread_ends() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=False)

    if "no libgomp" in done.stderr:
        pytest.skip("there is no libgomp here")
    assert done.stdout.split() == ["3", "0"]
