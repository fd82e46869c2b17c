"""Loads within limits of memory of all kinds: each answers, or is refused in a sentence, and none is killed."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, TypeAlias

from tools.bench.random_model import HALF_BILLION, default_folder, random_model
from tools.bench.result import Row, Section, at_most

Kind: TypeAlias = Literal["group", "parent", "RLIMIT_AS", "RLIMIT_DATA"]
CONTEXTS = (None, 512, 4096, 32_768, 131_072, 1_000_000)
_VERSION_1 = Path("/sys/fs/cgroup/memory")
_GROUPS = _VERSION_1 if _VERSION_1.is_dir() else Path("/sys/fs/cgroup")
_LIMIT_FILE = "memory.limit_in_bytes" if _VERSION_1.is_dir() else "memory.max"
_OPTIONS = {"RLIMIT_AS": "v", "RLIMIT_DATA": "d"}
_EXPECTED = {"answered", "NotEnoughMemory", "SetupError"}  # the last where not even a thread can start
_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load within a limit.

    Args:
        kind: A control group's limit, that of the group above it, or a limit of the process.
    """

    model: str
    kind: Kind
    megabytes: int
    context: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a load ended.

    Args:
        status: The exit status of the process, or the negative number of a signal.
        found: What it printed: the tokens of the answer, or the error.
        said: The end of what it wrote to the standard error.
    """

    status: int
    found: Mapping[str, object]
    said: str

    @property
    def word(self) -> str:
        """How it ended, in a word."""
        if self.status or not self.found:
            return "died"
        return "answered" if "answered" in self.found else str(self.found["refused"])


def can_make_groups() -> bool:
    """Whether this process can limit the memory of others by groups."""
    return (_GROUPS / _LIMIT_FILE).parent.is_dir() and os.access(_GROUPS / "cgroup.procs", os.W_OK)


def outcome(load: Load, cache: Path) -> Outcome:
    """How LOAD ends in a process of its own, whose probes are stored in CACHE."""
    command = [sys.executable, "-m", "tools.bench.limited_load", load.model]
    command += [] if load.context is None else ["--ctx", str(load.context)]
    command += ["--force"] if load.force else []
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    with _limited(load) as limit:
        try:
            run = subprocess.run(
                [*limit, *command], capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(status=0, found={"refused": "hung"}, said="")
    lines = run.stdout.splitlines()
    return Outcome(status=run.returncode, found=json.loads(lines[-1]) if lines else {}, said=run.stderr[-500:])


def memory_limits(loads: Sequence[Load], say: Callable[[str], None]) -> Section:
    """All LOADS, one after the other; those without a context probe the build and the file first."""
    words: dict[str, Counter[str]] = {}
    failures = []
    with tempfile.TemporaryDirectory(prefix="localllm-limits-") as shared:
        for number, load in enumerate(loads):
            with tempfile.TemporaryDirectory(prefix="localllm-limits-") as own:
                end = outcome(load, Path(own if load.context is None else shared))
            name = f"{Path(load.model).stem}, {load.kind}{', forced' if load.force else ''}"
            words.setdefault(name, Counter())[end.word] += 1
            say(f"{number + 1} of {len(loads)}: {name}, {load.megabytes} MB, context {load.context}: {end.word}")
            if end.word not in _EXPECTED:
                failures.append(f"{load}: {end}")
    rows = [
        Row(
            measure=f"{name}, {word}",
            unit="loads",
            ours=count,
            target=at_most(count, 0) if word in ("died", "hung") else None,
        )
        for name, counts in words.items()
        for word, count in {"died": 0, "hung": 0, **counts}.items()
    ]
    return Section(title="Loads within limits of memory", rows=tuple(rows), notes=tuple(failures))


def all_loads() -> list[Load]:
    """From 64 MB to 2 GB in steps of 50, and limits of the process up to 4 GB."""
    models = ("demo", str(random_model(HALF_BILLION, default_folder())))
    return [
        *_loads(models, "group", range(64, 2049, 50), CONTEXTS),
        *_loads(models, "parent", range(64, 1065, 100), (None, 32_768)),
        *_loads(models, "RLIMIT_AS", range(300, 4097, 100), (None, 32_768, 1_000_000)),
        *_loads(models, "RLIMIT_DATA", range(100, 1501, 100), (None, 32_768)),
        *(replace(load, force=True) for load in _loads(models, "group", range(64, 1065, 50), (None, 32_768))),
    ]


def quick_loads() -> list[Load]:
    """A handful of each kind, of the bundled model."""
    kinds: tuple[Kind, ...] = ("group", "parent", "RLIMIT_AS", "RLIMIT_DATA")
    return [load for kind in kinds for load in _loads(("demo",), kind, (64, 164, 464), (None, 1_000_000))]


def _loads(models: Sequence[str], kind: Kind, sizes: Sequence[int], contexts: Sequence[int | None]) -> Iterator[Load]:
    for model, size, context in product(models, sizes, contexts):
        yield Load(model=model, kind=kind, megabytes=size, context=context)


@contextmanager
def _limited(load: Load) -> Iterator[list[str]]:
    """A command that limits what follows it, from its start on; a group for it is removed afterwards."""
    if load.kind not in ("group", "parent"):
        yield ["sh", "-c", f'ulimit -{_OPTIONS[load.kind]} {load.megabytes * 1024}; exec "$0" "$@"']
        return
    group = _GROUPS / f"localllm-{os.getpid()}"
    inner = group / "inner" if load.kind == "parent" else group
    inner.mkdir(parents=True)
    try:
        (group / _LIMIT_FILE).write_text(str(load.megabytes << 20))
        yield ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(inner / "cgroup.procs")]
    finally:
        for folder in dict.fromkeys((inner, group)):
            _remove(folder)


def _remove(group: Path) -> None:
    """Remove GROUP once the last process in it has ended, which takes a moment."""
    for tries in range(100):
        try:
            group.rmdir()
        except OSError:
            if tries == 99:
                raise
            time.sleep(0.05)
        else:
            return
