import os
import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.machine import (
    cpu_name,
    free_memory,
    logical_cpus,
    physical_cores,
    private_memory,
    usual_threads,
)


def test_some_memory_is_free() -> None:
    assert 0 < free_memory() < 2**50


V2 = {
    "memory.max": "1000\n",
    "memory.current": "900\n",
    "memory.stat": "anon 300\nfile 600\ninactive_file 400\nactive_file 100\n",
}
V1 = {
    "memory/memory.limit_in_bytes": "2000\n",
    "memory/memory.usage_in_bytes": "1900\n",
    "memory/memory.stat": "cache 700\ninactive_file 1\ntotal_inactive_file 500\ntotal_active_file 200\n",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        pytest.param(V2, 600, id="version 2"),
        pytest.param(V1, 800, id="version 1"),
        pytest.param({**V2, "memory.max": "max\n"}, None, id="no limit"),
        pytest.param({**V2, "memory.current": "9000\n"}, 0, id="more used than allowed"),
        pytest.param({"memory.max": "1000\n", "memory.current": "900\n"}, 100, id="nothing about the cache"),
        pytest.param({}, None, id="no container"),
    ],
)
def test_a_container_has_what_its_limit_leaves_and_the_cache_of_files(
    tmp_path: Path, files: dict[str, str], free: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    assert free_memory(tmp_path) == free or (free is None and free_memory(tmp_path) > 10**6)


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
    (tmp_path / "cpu.max").write_text(limit)

    assert physical_cores(tmp_path) == cores
    assert cores <= logical_cpus(tmp_path) <= (os.cpu_count() or 1)
    assert logical_cpus(tmp_path) == 1 or limit.startswith("max")


def test_a_cpu_has_one_name() -> None:
    assert cpu_name() == cpu_name()
    assert cpu_name().strip()


def test_a_tiny_model_needs_one_thread() -> None:
    assert usual_threads(10**6) == 1
    assert usual_threads(10**10) == physical_cores()
