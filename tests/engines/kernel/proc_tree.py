"""A little /proc, and groups, in a folder."""

from collections.abc import Mapping
from pathlib import Path

V1 = "31 22 0:31 {root} {point} rw,relatime - cgroup cgroup rw,memory\n"
V2 = "41 22 0:38 {root} {point} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """FOLDER, with each of FILES written below it."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def write_proc(
    folder: Path, groups: Mapping[str, str], *, group: str, mount: str = V2, root: str = "/", more: str = ""
) -> Path:
    """A /proc of a process in GROUP; the files of GROUPS lie where MOUNT, whose highest group is ROOT, is mounted."""
    point = write_files(folder / "cgroup", groups)
    line = mount.format(root=root, point=point)
    return write_files(folder / "proc", {"self/cgroup": group, "self/mountinfo": f"short\n{more}{line}"})
