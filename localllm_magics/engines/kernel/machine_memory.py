"""The memory that this process may really take now, of the host and of each device."""

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from localllm_magics.core.memory_plan import HOST, DeviceMemory, MachineMemory
from localllm_magics.core.table import to_size
from localllm_magics.engines.kernel.cgroups import PROC, memory_limits, read_number, read_sizes, read_text
from localllm_magics.engines.kernel.library import Device, Library
from localllm_magics.engines.kernel.machine import logical_cpus

_INTEGRATED = 2  # enum ggml_backend_dev_type in ggml-backend.h
_THREADS, _STACK = 3, 8 << 20  # those that run at once beside those that compute
_ARENA = 64 << 20  # of address space: what glibc keeps for a thread that allocates
_NUMPY, _BUFFER, _MOST_OF_NUMPY = (64 << 20, 8 << 20), 40 << 20, 64  # to import it: once, and for each CPU
_ENGINE = 32 << 20  # of data: what llama.cpp and Python take beside the plan before the last thread starts
_STRICT = 2  # of vm.overcommit_memory: what is allocated counts, used or not


def free_memory(proc: Path = PROC) -> int:
    """Bytes that this process can take without swapping."""
    return host_memory(proc).free


def machine_memory(lib: Library | None, proc: Path = PROC) -> MachineMemory:
    """What is free now on the host, and on each GPU of the build LIB."""
    gpus = () if lib is None else tuple(_device_memory(lib, gpu) for gpu in lib.devices() if gpu.is_gpu)
    return MachineMemory(host=host_memory(proc), devices=gpus)


def within_limit(machine: MachineMemory, limit: int | None) -> MachineMemory:
    """MACHINE where models may take no more than LIMIT bytes together; those that are there may leave."""
    if limit is None or machine.host.free <= limit:
        return machine
    return replace(machine, host=replace(machine.host, free=limit, limit=f"the memory limit is {to_size(limit)}"))


def host_memory(proc: Path = PROC) -> DeviceMemory:
    """The memory of the host, within the limits of the machine, of this process and of all groups that it is in."""
    machine = psutil.virtual_memory()
    swap = read_sizes(proc / "meminfo").get("SwapFree", 0)
    whole = DeviceMemory(name=HOST, free=machine.available, total=machine.total, is_host=True, swap=swap)
    return min([whole, *_limits(proc)], key=lambda memory: memory.free)


def reserved_by_threads() -> tuple[int, int]:
    """Address space and data, in bytes, that threads will take without using them, and that no model can have.

    Where a limit of the process leaves less than that, threads cannot start, Python can hang, and numpy, which
    llama_cpp imports, ends the process.
    """
    cpus = logical_cpus()
    threads = cpus + _THREADS
    numpy = 0 if "numpy" in sys.modules else min(os.cpu_count() or 1, _MOST_OF_NUMPY) * _BUFFER
    space, data = (0, 0) if "numpy" in sys.modules else _NUMPY
    return threads * _STACK + _ARENA + numpy + space, threads * _STACK + numpy + data + _ENGINE


def _limits(proc: Path) -> Iterator[DeviceMemory]:
    for group in memory_limits(proc):
        yield _limited(group.total, group.free, "this container or job may use {}")
    used, limits = read_sizes(proc / "self/status"), read_text(proc / "self/limits").splitlines()
    space, data = reserved_by_threads()
    for resource, name, reserved, words in (
        ("Max address space", "VmSize", space, "this process may use {} of address space (ulimit -v)"),
        ("Max data size", "VmData", data, "this process may use {} of data (ulimit -d)"),
    ):
        soft = next((line[len(resource) :].split()[:1] for line in limits if line.startswith(resource)), [])
        if soft and soft[0].isdecimal():
            limited = _limited(int(soft[0]), int(soft[0]) - used.get(name, 0) - reserved, words)
            yield replace(limited, counts_mapped=name == "VmSize")
    if read_number(proc / "sys/vm/overcommit_memory") == _STRICT:
        sizes = read_sizes(proc / "meminfo")
        total, committed = sizes.get("CommitLimit", 0), sizes.get("Committed_AS", 0)
        yield _limited(total, total - committed, "all programs may allocate {} (vm.overcommit_memory)")


def _limited(total: int, free: int, words: str) -> DeviceMemory:
    return DeviceMemory(name=HOST, free=max(0, free), total=total, is_host=True, limit=words.format(to_size(total)))


def _device_memory(lib: Library, device: Device) -> DeviceMemory:
    find = lib.function("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)
    kind = lib.function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(find(device.name.encode()))
    # Metal calls itself a GPU like any other, and shares the host's memory wherever it is still made.
    is_host = kind == _INTEGRATED or device.name.startswith("MTL")
    free = min(device.free_bytes, device.total_bytes)
    return DeviceMemory(name=device.name, free=free, total=device.total_bytes, is_host=is_host)
