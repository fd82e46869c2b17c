import os

from localllm_magics.engines.kernel.machine import cpu_name, free_memory, physical_cores, usual_threads


def test_some_memory_is_free() -> None:
    free = free_memory()

    assert free is None or 0 <= free < 2**50


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
