from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil
import pytest

from localllm_magics.core.memory_plan import DeviceMemory, MachineMemory
from localllm_magics.engines.kernel.library import Device, Library
from localllm_magics.engines.kernel.machine import logical_cpus
from localllm_magics.engines.kernel.machine_memory import (
    free_memory,
    host_memory,
    machine_memory,
    reserved_by_threads,
    within_limit,
)
from tests.engines.kernel.proc_tree import write_files, write_proc

SPACE, DATA = reserved_by_threads()
STACK = 8 << 20
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max data size             {data:<20} unlimited            bytes
Max address space         {space:<20} unlimited            bytes
"""


def test_more_data_is_left_than_the_stacks_of_threads_take() -> None:
    assert logical_cpus() * STACK + (32 << 20) <= DATA <= SPACE


@pytest.mark.parametrize(
    ("limit", "free", "words"),
    [
        pytest.param(None, 9_000_000, "", id="none"),
        pytest.param(5_000_000, 5_000_000, "the memory limit is 5.0 MB", id="less than is free"),
        pytest.param(10_000_000, 9_000_000, "", id="more than is free"),
    ],
)
def test_models_may_take_no_more_than_their_limit(limit: int | None, free: int, words: str) -> None:
    host = DeviceMemory(name="CPU", free=9_000_000, total=10_000_000, is_host=True)

    found = within_limit(MachineMemory(host=host), limit).host

    assert (found.free, found.limit) == (free, words)


def test_some_memory_is_free() -> None:
    assert 0 < free_memory() < 2**50


def test_without_limits_it_is_the_machines(tmp_path: Path) -> None:
    proc = write_files(tmp_path, {"self/limits": LIMITS.format(data="unlimited", space="unlimited")})
    write_files(proc, {"meminfo": "SwapFree: 7 kB\n", "self/status": "VmSize: 9 kB\n"})

    host = host_memory(proc)

    assert (host.name, host.total, host.is_host) == ("CPU", psutil.virtual_memory().total, True)
    assert (host.limit, host.swap) == ("", 7168)


@pytest.mark.parametrize(
    ("files", "limit", "total", "free"),
    [
        pytest.param(
            {"self/limits": LIMITS.format(data="unlimited", space=900_000_000), "self/status": "VmSize:\t400 kB\n"},
            "this process may use 900.0 MB of address space (ulimit -v)",
            900_000_000,
            900_000_000 - 409_600 - SPACE,
            id="address space",
        ),
        pytest.param(
            {"self/limits": LIMITS.format(data=800_000_000, space=1_900_000_000), "self/status": "VmData:\t900 kB\n"},
            "this process may use 800.0 MB of data (ulimit -d)",
            800_000_000,
            800_000_000 - 921_600 - DATA,
            id="data",
        ),
        pytest.param(
            {"self/limits": LIMITS.format(data=100, space="unlimited"), "self/status": ""},
            "this process may use 100 B of data (ulimit -d)",
            100,
            0,
            id="less than threads take",
        ),
        pytest.param(
            {"sys/vm/overcommit_memory": "2\n", "meminfo": "CommitLimit: 1000 kB\nCommitted_AS: 900 kB\n"},
            "all programs may allocate 1.0 MB (vm.overcommit_memory)",
            1_024_000,
            102_400,
            id="what may be allocated",
        ),
    ],
)
def test_a_limit_that_leaves_less_is_named(
    tmp_path: Path, files: Mapping[str, str], limit: str, total: int, free: int
) -> None:
    is_space = "address space" in limit
    expected = DeviceMemory(name="CPU", free=free, total=total, is_host=True, limit=limit, counts_mapped=is_space)

    assert host_memory(write_files(tmp_path, files)) == expected
    assert free_memory(tmp_path) == free


def test_the_smallest_of_several_limits_binds(tmp_path: Path) -> None:
    groups = {"a/memory.max": "3000000", "a/memory.current": "1000000", "memory.max": "9", "memory.current": "0"}
    proc = write_proc(tmp_path, groups, group="0::/a")
    write_files(proc, {"self/limits": LIMITS.format(data=10**12, space=10**12)})

    host = host_memory(proc)

    assert (host.free, host.limit) == (9, "this container or job may use 9 B")


def test_memory_that_is_allocated_freely_has_no_such_limit(tmp_path: Path) -> None:
    write_files(tmp_path, {"sys/vm/overcommit_memory": "0\n", "meminfo": "CommitLimit: 1 kB\nCommitted_AS: 9 kB\n"})

    assert host_memory(tmp_path).limit == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Stands in for a build with DEVICES, of which llama.cpp says what KINDS they are."""

    kinds: Mapping[str, int]
    gpus: tuple[Device, ...]

    def devices(self) -> list[Device]:
        cpu = Device(name="CPU", description="", is_gpu=False, free_bytes=1, total_bytes=2)
        return [cpu, *self.gpus]

    def function(self, name: str, _result: type, *_arguments: type) -> Callable[[bytes], object]:
        return (lambda text: text) if name == "ggml_backend_dev_by_name" else (lambda text: self.kinds[text.decode()])


@pytest.mark.parametrize(
    ("name", "kind", "free", "total", "is_host"),
    [
        pytest.param("CUDA0", 1, 5, 8, False, id="a card"),
        pytest.param("Vulkan0", 2, 5, 8, True, id="integrated"),
        pytest.param("MTL0", 1, 5, 8, True, id="Metal"),
        pytest.param("RPC0", 1, 5, 0, False, id="one that says nothing"),
    ],
)
def test_each_gpu_has_its_memory(name: str, kind: int, free: int, total: int, is_host: bool) -> None:
    gpu = Device(name=name, description="", is_gpu=True, free_bytes=free, total_bytes=total)
    build = cast("Library", Build(kinds={name: kind}, gpus=(gpu,)))

    memory = machine_memory(build)

    assert memory.host.name == "CPU"
    assert memory.devices == (DeviceMemory(name=name, free=min(free, total), total=total, is_host=is_host),)


def test_the_build_of_this_machine_has_a_host(lib: Library) -> None:
    assert machine_memory(lib).host.free > 0
    assert machine_memory(None).devices == ()
