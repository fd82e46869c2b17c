"""The control groups that this process is in, on Linux, and what they may use: memory and time of CPUs.

A group's limit holds for all groups below it, so each is looked at from this process's own up to the highest that is
mounted. In a container that may be its own group, or the root of all with the path still in /proc/self/cgroup.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_OCTAL = re.compile(r"\\([0-7]{3})")
# Files with a limit and with what is used. Above memory.high, processes are slowed down until they hardly run.
_MEMORY_FILES = (
    ("memory.max", "memory.current"),
    ("memory.high", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),
)
# What files were read is used memory, too, but the system gives it back by itself.
_RECLAIMABLE = {"inactive_file", "active_file", "slab_reclaimable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimit:
    """The memory that a group may use, and how much of it is free."""

    total: int
    free: int


def memory_limits(proc: Path = PROC) -> Iterator[GroupLimit]:
    """The limits of each group; version 1 has some that no machine reaches."""
    for folder in _folders("memory", proc):
        for limit, usage in _MEMORY_FILES:
            total, used = read_number(folder / limit), read_number(folder / usage)
            if total is not None and used is not None:
                free = total - used + _reclaimable(folder / "memory.stat")
                yield GroupLimit(total=total, free=min(max(0, free), total))


def cpu_quota(proc: Path = PROC) -> float:
    """How many CPUs' worth of time the groups leave; infinite where nothing limits it."""
    quotas = [math.inf]
    for folder in _folders("cpu", proc):
        numbers = [read_number(folder / f"cpu.cfs_{part}_us") for part in ("quota", "period")]
        quota, period = numbers if None not in numbers else _numbers(folder / "cpu.max")
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas)


def read_number(file: Path) -> int | None:
    """The number in FILE; None where there is none."""
    return _numbers(file)[0]


def read_text(file: Path) -> str:
    """The text in FILE, empty where it cannot be read: a group can vanish at any time."""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def read_sizes(file: Path) -> dict[str, int]:
    """The numbers in a FILE that has a name and a number in each line, in bytes where it says kB."""
    lines = (line.replace(":", " ").split() for line in read_text(file).splitlines())
    return {
        words[0]: int(words[1]) << 10 * ("kB" in words) for words in lines if _NUMBER.fullmatch("".join(words[1:2]))
    }


def _numbers(file: Path) -> tuple[int | None, int | None]:
    """The first two words of FILE, as far as they are numbers."""
    words = [*read_text(file).split()[:2], "", ""]
    first, second = (int(word) if _NUMBER.fullmatch(word) else None for word in words[:2])
    return first, second


def _reclaimable(file: Path) -> int:
    """Memory that the system takes back where it is needed, of a group and those below it."""
    sizes = read_sizes(file)
    # In version 1 the plain names are for the group alone.
    prefix = "total_" if "total_inactive_file" in sizes else ""
    return sum(sizes.get(f"{prefix}{name}", 0) for name in _RECLAIMABLE)


def _folders(controller: str, proc: Path) -> Iterator[Path]:
    """The folders of the groups that limit this process, of both versions, its own first."""
    groups = _groups(controller, proc)
    for line in read_text(proc / "self/mountinfo").splitlines():
        mount = _Mount.of(line)
        for name, group in groups.items():
            if mount is not None and mount.has(name):
                folder = mount.folder_of(group)
                yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(mount.point)))


def _groups(controller: str, proc: Path) -> dict[str, PurePosixPath]:
    """This process's group in the hierarchy of CONTROLLER, and under an empty name that of version 2."""
    lines = [line.partition(":")[2].partition(":") for line in read_text(proc / "self/cgroup").splitlines()]
    return {
        controller if names else "": PurePosixPath(group)
        for names, _, group in lines
        if controller in names.split(",") or not names
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    """A mounted hierarchy of groups, or a part of one.

    Args:
        root: The group that is its highest.
        controllers: Those of version 1; None is version 2.
    """

    point: Path
    root: PurePosixPath
    controllers: frozenset[str] | None

    @staticmethod
    def of(line: str) -> "_Mount | None":
        """What a LINE of mountinfo mounts, where that is groups; see proc(5)."""
        left, _, right = line.partition(" - ")
        words, (kind, _, options, *_) = left.split(), [*right.split(), "", "", ""]
        if kind not in {"cgroup", "cgroup2"} or len(words) < 5:
            return None
        root, point = (_OCTAL.sub(lambda match: chr(int(match[1], 8)), word) for word in words[3:5])
        controllers = frozenset(options.split(",")) if kind == "cgroup" else None
        return _Mount(point=Path(point), root=PurePosixPath(root), controllers=controllers)

    def has(self, controller: str) -> bool:
        """Whether CONTROLLER is in this hierarchy; version 2 has one hierarchy for all, and none is asked for."""
        return controller in self.controllers if self.controllers is not None else not controller

    def folder_of(self, group: PurePosixPath) -> Path:
        """The folder of GROUP, or of the nearest above it that is mounted."""
        return self.point / group.relative_to(self.root) if group.is_relative_to(self.root) else self.point
