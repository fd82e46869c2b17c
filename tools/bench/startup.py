"""What a user waits for before anything is generated: the extension, and a cell's first output."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from tools.bench.ask import Setup
from tools.bench.cell import source
from tools.bench.kernel import LOAD_EXTENSION, Cell, CellFailed, Kernel
from tools.bench.result import Row, Section, at_most, percentile
from tools.bench.subject import Subject

HEAVY = ("anywidget", "httpcore", "httpx", "ipywidgets", "llama_cpp", "matplotlib", "numpy", "pandas", "requests")
_LOAD_LIMIT, _FIRST_LIMIT = 150, 50  # milliseconds
_SHOWN = {"display_data", "stream"}
_MEASURED = f"""
import json, sys, time
before, start, cpu = set(sys.modules), time.perf_counter(), time.process_time()
get_ipython().run_line_magic(*{LOAD_EXTENSION[1:].split()!r})
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([seconds, cpu, sorted(set(sys.modules) - before)]))
"""


def load_extension(rounds: int, say: Callable[[str], None]) -> Section:
    """Fresh IPython processes, with and without the extension in turns."""
    inside, cpu, extra, modules = [], [], [], list[str]()
    with tempfile.TemporaryDirectory(prefix="localllm-bench-") as home:
        _ipython(_MEASURED, home)  # makes the profile, and compiles what is imported
        for number in range(rounds):
            say(f"%load_ext: round {number + 1} of {rounds}")
            bare, _ = _ipython("pass", home)
            whole, printed = _ipython(_MEASURED, home)
            seconds, cpu_seconds, modules = json.loads(printed)
            cpu.append(1000 * cpu_seconds)
            inside.append(1000 * seconds)
            extra.append(1000 * (whole - bare))
    heavy = [name for name in HEAVY if name in modules]
    others = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"localllm_magics"}
    by_clock = statistics.median(inside)
    return Section(
        title=f"`%load_ext localllm_magics`, {rounds} fresh processes",
        rows=(
            Row(measure="the magic itself", unit="ms", ours=by_clock, target=at_most(by_clock, _LOAD_LIMIT, "ms")),
            Row(measure="its CPU time, whatever else runs", unit="ms", ours=statistics.median(cpu)),
            Row(measure="IPython with it less bare IPython, whole processes", unit="ms", ours=statistics.median(extra)),
            Row(measure="modules imported", unit="modules", ours=len(modules)),
            Row(measure="heavy modules", unit="modules", ours=len(heavy), target=at_most(len(heavy), 0)),
        ),
        notes=(
            f"Heavy would be: {', '.join(HEAVY)}. Found: {', '.join(heavy) or 'none'}.",
            f"Foreign packages imported: {', '.join(sorted(others)) or 'none'}.",
        ),
    )


def first_output(subject: Subject, kernels: int, cells: int, say: Callable[[str], None]) -> Section:
    """From a cell's start to its first output: the model not loaded, in fresh kernels; and loaded."""
    cold, warm = [], []
    for number in range(kernels):
        say(f"first output: kernel {number + 1} of {kernels}")
        with Kernel() as kernel:
            kernel.run(LOAD_EXTENSION)
            cold.append(_first(kernel.run(_short(subject.setup, subject))))
            warm += [_first(kernel.run(_short(subject.setup, subject))) for _ in range(cells)]
    return Section(
        title=f"First output of a `%%llm` cell, {subject.name}",
        rows=(*_rows("first cell of a kernel, model not loaded", cold), *_rows("model loaded", warm)),
    )


def _short(setup: Setup, subject: Subject) -> str:
    return source(setup, subject.asks[0]).replace(f"-n {subject.asks[0].max_tokens} ", "-n 4 ")


def _rows(name: str, milliseconds: list[float]) -> list[Row]:
    median, tail = statistics.median(milliseconds), percentile(milliseconds, 95)
    return [
        Row(
            measure=f"{name}: median of {len(milliseconds)}",
            unit="ms",
            ours=median,
            target=at_most(median, _FIRST_LIMIT, "ms"),
        ),
        Row(measure=f"{name}: 95th percentile", unit="ms", ours=tail),
    ]


def _first(cell: Cell) -> float:
    """Milliseconds from busy to the first thing that a reader sees."""
    for message in cell.outputs:
        if message.kind in _SHOWN:
            return 1000 * (message.at - cell.busy_at)
    raise CellFailed("A cell showed nothing.")


def _ipython(code: str, home: str) -> tuple[float, str]:
    """Seconds that an IPython process takes to run CODE, and what it prints."""
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    # An installed package is compiled, and so is this one, whatever the environment says.
    compiled = {"IPYTHONDIR": home, "PYTHONPYCACHEPREFIX": home, "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | compiled)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise CellFailed(f"IPython failed: {done.stdout}{done.stderr}")
    return seconds, done.stdout
