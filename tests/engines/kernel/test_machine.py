import os
from pathlib import Path

import pytest

from localllm_magics.engines.kernel import machine
from localllm_magics.engines.kernel.machine import cpu_name, free_memory, physical_cores, usual_threads


def test_some_memory_is_free() -> None:
    free = free_memory()

    assert free is None or 0 <= free < 2**50


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_meminfo_available", lambda: None)

    assert free_memory() == free


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


def test_a_cpu_has_one_name() -> None:
    assert cpu_name() == cpu_name()
    assert cpu_name().strip()


def test_a_tiny_model_needs_one_thread() -> None:
    assert usual_threads(10**6) == 1
    assert usual_threads(10**10) == physical_cores()
