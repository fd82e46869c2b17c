import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm_magics.engines.kernel.cgroups import cpu_quota, memory_limits, read_number, read_sizes
from tests.engines.kernel.proc_tree import V1, V2, write_files, write_proc

SLICE = "system.slice/jupyter.service"
DEEP = {
    f"{SLICE}/memory.max": "max\n",
    f"{SLICE}/memory.current": "700\n",
    "system.slice/memory.max": "1000\n",
    "system.slice/memory.current": "900\n",
    "system.slice/memory.stat": "anon 300\nfile 600\ninactive_file 400\nactive_file 100\nslab_reclaimable 7\n",
}
SLURM = "slurm/uid_7/job_8"
V1_STAT = "cache 700\ninactive_file 1\ntotal_inactive_file 500\ntotal_active_file 200\n"
JOB = {
    f"{SLURM}/memory.limit_in_bytes": "2000\n",
    f"{SLURM}/memory.usage_in_bytes": "1900\n",
    f"{SLURM}/memory.stat": V1_STAT,
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.usage_in_bytes": "5000\n",
}


def limits(proc: Path) -> list[tuple[int, int]]:
    return [(limit.total, limit.free) for limit in memory_limits(proc)]


@pytest.mark.parametrize(
    ("files", "group", "mount", "expected"),
    [
        pytest.param(DEEP, f"0::/{SLICE}\n", V2, [(1000, 607)], id="an ancestor's, version 2"),
        pytest.param(
            JOB,
            f"3:cpu:/x\n4:devices,memory:/{SLURM}\n0::/\n",
            V1,
            [(2000, 800), (9223372036854771712, 9223372036854766712)],
            id="its own and the root's, version 1",
        ),
        pytest.param(
            {"a/memory.max": "9000", "a/memory.high": "500", "a/memory.current": "300"},
            "0::/a/b",
            V2,
            [(9000, 8700), (500, 200)],
            id="where it would be slowed down",
        ),
        pytest.param(
            {
                "a/memory.limit_in_bytes": "100",
                "a/memory.usage_in_bytes": "40",
                "a/memory.memsw.limit_in_bytes": "100",
                "a/memory.memsw.usage_in_bytes": "90",
            },
            "4:memory:/a",
            V1,
            [(100, 60), (100, 10)],
            id="memory and swap together",
        ),
        pytest.param({"memory.max": "10", "memory.current": "90"}, "0::/", V2, [(10, 0)], id="more used than allowed"),
        pytest.param(
            {"memory.max": "10", "memory.current": "5", "memory.stat": "active_file 900\n"},
            "0::/",
            V2,
            [(10, 10)],
            id="more cached than used",
        ),
        pytest.param(
            {"memory.max": "10", "memory.current": "5"}, "0::/gone (deleted)", V2, [(10, 5)], id="its own is gone"
        ),
        pytest.param({"memory.max": "10", "memory.current": "5"}, "4:cpu:/\n5:name=systemd:/\n", V2, [], id="none"),
        pytest.param({"memory.max": "\x00\xff", "memory.current": "5"}, "0::/", V2, [], id="no number"),
        pytest.param({"memory.max": "9" * 5000, "memory.current": "5"}, "0::/", V2, [], id="too long a number"),
        pytest.param({"memory.max": "10"}, "0::/", V2, [], id="nothing about what is used"),
        pytest.param({}, "nonsense\n\n0::/../..\n", V2, [], id="outside of what is mounted"),
    ],
)
def test_the_limits_of_all_groups_up_to_the_mount_point_are_found(
    tmp_path: Path, files: Mapping[str, str], group: str, mount: str, expected: list[tuple[int, int]]
) -> None:
    assert limits(write_proc(tmp_path, files, group=group, mount=mount)) == expected


@pytest.mark.parametrize(
    ("root", "group", "folder"),
    [
        pytest.param("/docker/abc", "/docker/abc", "", id="the container's own group is the root"),
        pytest.param("/docker/abc", "/docker/abc/sub", "sub", id="a group in the container"),
        pytest.param("/docker/abc", "/elsewhere", "", id="another's path"),
        pytest.param("/../..", "/", "", id="a mount from above its namespace"),
        pytest.param("/docker/abc", "/docker/abcdef", "", id="a name that begins alike"),
    ],
)
def test_a_container_sees_its_group_at_another_path(tmp_path: Path, root: str, group: str, folder: str) -> None:
    files = {str(Path(folder) / name): text for name, text in (("memory.max", "10"), ("memory.current", "4"))}

    assert limits(write_proc(tmp_path, files, group=f"0::{group}", root=root)) == [(10, 6)]


def test_a_path_with_a_space_is_escaped_in_the_list_of_mounts(tmp_path: Path) -> None:
    group = write_files(tmp_path / "a b", {"memory.max": "10", "memory.current": "4"})
    line = V2.format(root="/", point=str(group).replace(" ", r"\040"))
    proc = write_files(tmp_path / "proc", {"self/cgroup": "0::/", "self/mountinfo": line})

    assert limits(proc) == [(10, 6)]


def test_where_there_is_no_proc_there_are_no_limits(tmp_path: Path) -> None:
    assert limits(tmp_path) == []
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("files", "group", "mount", "expected"),
    [
        pytest.param({"a/cpu.max": "max 100000", "cpu.max": "150000 100000"}, "0::/a", V2, 1.5, id="an ancestor's"),
        pytest.param({"a/cpu.max": "50000 100000", "cpu.max": "150000 100000"}, "0::/a", V2, 0.5, id="its own"),
        pytest.param({"a/cpu.max": "max 100000"}, "0::/a", V2, math.inf, id="none"),
        pytest.param({"a/cpu.max": "5 0"}, "0::/a", V2, math.inf, id="nonsense"),
        pytest.param(
            {"a/cpu.cfs_quota_us": "20000", "a/cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "-1"},
            "3:cpu,cpuacct:/a",
            V1.replace("memory", "cpu,cpuacct"),
            2,
            id="version 1",
        ),
        pytest.param(
            {"a/cpu.cfs_quota_us": "-1", "a/cpu.cfs_period_us": "10000"},
            "3:cpu,cpuacct:/a",
            V1.replace("memory", "cpu,cpuacct"),
            math.inf,
            id="none in version 1",
        ),
    ],
)
def test_the_least_time_of_all_groups_is_what_there_is(
    tmp_path: Path, files: Mapping[str, str], group: str, mount: str, expected: float
) -> None:
    assert cpu_quota(write_proc(tmp_path, files, group=group, mount=mount)) == expected


def test_broken_files_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff\n:\na b\nMemFree:  3 kB\nRest 4\n")

    assert read_number(file) is None
    assert read_number(tmp_path) is None
    assert read_sizes(file) == {"MemFree": 3072, "Rest": 4}
