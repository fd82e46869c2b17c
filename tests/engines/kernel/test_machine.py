import os
import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.machine import (
    cpu_name,
    logical_cpus,
    physical_cores,
    private_memory,
    usual_threads,
)
from tests.engines.kernel.proc_tree import write_proc


def test_memory_of_its_own_is_counted() -> None:
    before = private_memory()
    held = b"x" * 50_000_000

    assert 45_000_000 < private_memory() - before < len(held) + 50_000_000


def test_a_process_that_has_ended_holds_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert private_memory(process.pid) == 0


def test_there_are_no_more_cores_than_threads() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)


def test_a_process_bound_to_one_cpu_has_one_core() -> None:
    if not hasattr(os, "sched_setaffinity"):
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        cores = physical_cores()
    finally:
        os.sched_setaffinity(0, before)

    assert cores == 1


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        pytest.param("max 100000\n", physical_cores(), id="no limit"),
        pytest.param("100000 100000\n", 1, id="one core"),
        pytest.param("50000 100000\n", 1, id="less than a core"),
    ],
)
def test_a_container_has_the_cores_of_its_limit(tmp_path: Path, limit: str, cores: int) -> None:
    proc = write_proc(tmp_path, {"cpu.max": limit}, group="0::/")

    assert physical_cores(proc) == cores
    assert cores <= logical_cpus(proc) <= (os.cpu_count() or 1)
    assert logical_cpus(proc) == 1 or limit.startswith("max")


def test_a_cpu_has_one_name() -> None:
    assert cpu_name() == cpu_name()
    assert cpu_name().strip()


def test_a_tiny_model_needs_one_thread() -> None:
    assert usual_threads(10**6) == 1
    assert usual_threads(10**10) == physical_cores()
