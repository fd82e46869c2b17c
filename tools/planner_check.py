"""Compare the plan from the header with llama.cpp's own, for many shapes and settings; no model is loaded.

python -m tools.planner_check [CLASS ...] [--verbose]
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from statistics import median

from localllm_magics import demo
from localllm_magics.catalog.gguf import read_header
from localllm_magics.catalog.shape import read_shape
from localllm_magics.core.memory_plan import DeviceUse, MachineMemory, MemoryPlan, PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.worker.planner import exact_plans
from localllm_magics.engines.planner.estimate import estimate
from localllm_magics.engines.sparse_gguf import write_sparse
from tools.rpc_device import rpc_device
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

CLASSES: Mapping[str, tuple[str, ...]] = {
    "GQA": (
        "demo",
        "llama-1b",
        "llama-8b",
        "llama-70b",
        "nemo-12b",
        "qwen2-0.5b",
        "qwen2-7b",
        "qwen3-0.6b",
        "qwen3-4b",
    ),
    "mixture of experts": ("mixtral-8x7b", "qwen3-30b-a3b", "qwen3-235b-a22b", "gpt-oss-20b"),
    "MLA": ("deepseek2-lite", "deepseek-v3"),
    "sliding window": ("gemma2-9b", "gemma3-4b", "gemma3-27b"),
    "recurrent": ("mamba-2.8b",),
    "hybrid": ("falcon-h1-7b", "granite-h-tiny", "jamba-mini", "qwen3-next-80b"),
}
"""Not here are RWKV, of which a device with the output only is 5 % high, and LFM2, for a few of whose placements
llama.cpp itself turns flash attention off."""
QUICK = ("demo", "llama-1b", "mixtral-8x7b", "deepseek2-lite", "gemma3-4b", "mamba-2.8b", "jamba-mini")
CONTEXTS = (1000, 8192, 65_536)
CACHES = (("f16", True), ("q8_0", True), ("q4_0", True), ("f16", False))
"""Types of the KV cache, and whether there is flash attention."""
BATCHES = (256, 512)
HIGHEST, LOWEST = 0.03, -0.02
SMALL_DEVICE = 50_000_000
"""Bytes below which the use of a single device is not compared: its part of all is too small to matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Both plans for one shape with one choice of settings."""

    shape: str
    estimated: MemoryPlan
    exact: MemoryPlan

    @property
    def total(self) -> float:
        """By how much the estimate of everything is too high, as a part of the exact number."""
        return self.estimated.needed / self.exact.needed - 1

    @property
    def devices(self) -> list[float]:
        """The same for each device that has a part worth comparing."""
        pairs = zip(self.estimated.uses, self.exact.uses, strict=True)
        return [one.needed / other.needed - 1 for one, other in pairs if other.needed >= SMALL_DEVICE]

    def __str__(self) -> str:
        """The settings, and the bytes of each device in MB: estimated, exact."""
        s = self.exact.settings
        parts = [
            f"{self.shape:15} {s.context:6} {s.kv_type:5} {s.batch:4} {'fa' if s.flash_attention else '--'}",
            f"layers {s.gpu_layers:3} {s.split} moe {s.cpu_moe:3} {self.total:+7.2%}",
        ]
        pairs = zip(self.estimated.uses, self.exact.uses, strict=True)
        return "  ".join([*parts, *(f"{_row(one)} / {_row(other)}" for one, other in pairs)])


def _row(use: DeviceUse) -> str:
    return " ".join(f"{size / 1e6:.1f}" for size in (use.weights, use.kv_cache, use.compute))


def cells(name: str, path: Path, settings: Sequence[PlanSettings]) -> list[Cell]:
    """Both plans for the file at PATH, with each of SETTINGS."""
    exact = exact_plans(library(), path, settings, Stop())
    shape = read_shape([read_header(path)])
    assert shape is not None
    return [Cell(shape=name, exact=plan, estimated=estimate(shape, plan.settings, _machine(plan))) for plan in exact]


def _machine(plan: MemoryPlan) -> MachineMemory:
    host, *devices = (use.memory for use in plan.uses)
    return MachineMemory(host=host, devices=tuple(devices))


def choices(shape: ModelShape, *, quick: bool) -> Iterator[PlanSettings]:
    """All combinations of settings that a shape is checked with, for a machine with two devices.

    Args:
        shape: It decides on the placements.
        quick: Some of them only.
    """
    layers = len(shape.order)
    placements = [(0, (), 0), (1, (1, 0), 0), (layers // 2, (1, 0), 0), (layers + 1, (1, 0), 0)]
    placements += [(layers + 1, (2, 1), 0), (layers - 1, (1, 1), layers // 3 if shape.experts else 0)]
    if shape.experts:
        placements.append((layers + 1, (1, 0), layers))
    sizes = (CONTEXTS[1:2], CACHES[::3], BATCHES[:1]) if quick else (CONTEXTS, CACHES, BATCHES)
    for (gpu_layers, split, cpu_moe), context, (kv_type, flash), batch in product(placements, *sizes):
        yield PlanSettings(
            context=context,
            gpu_layers=gpu_layers,
            split=split,
            cpu_moe=cpu_moe,
            kv_type=kv_type,
            batch=batch,
            flash_attention=flash,
        )


def main(arguments: Sequence[str]) -> None:
    """Print a table with a row for each class."""
    quick = "--quick" in arguments
    wanted = [name for name in CLASSES if name in arguments] or list(CLASSES)
    rows: dict[str, list[Cell]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for _ in range(2):
            library().add_rpc_server(stack.enter_context(rpc_device()))
        for kind in wanted:
            names = [name for name in CLASSES[kind] if name in QUICK or not quick]
            rows[kind] = [cell for name in names for cell in _check(name, folder, quick=quick)]
    rows["all"] = list(chain.from_iterable(rows.values()))
    worst = sorted(rows["all"], key=lambda cell: min([cell.total, *cell.devices]))
    if "--verbose" in arguments:
        print(*worst, sep="\n")
    print(f"{'':20}{'cells':>6}  {'median':>7} {'lowest':>7} {'highest':>7} {'within 3 %':>11}")
    for kind, found in rows.items():
        print(f"{kind:20}{len(found):6}  {_summary([cell.total for cell in found])}")
        print(f"{'  each device':26}  {_summary([part for cell in found for part in cell.devices])}")
    outside = [cell for cell in worst if not all(LOWEST <= part <= HIGHEST for part in (cell.total, *cell.devices))]
    if outside:
        raise SystemExit("\n".join(["Outside of the goal:", *map(str, outside)]))


def _check(name: str, folder: Path, *, quick: bool) -> list[Cell]:
    path = demo.PATH if name == "demo" else folder / f"{name}.gguf"
    if name != "demo":
        write_sparse(to_model(SHAPES[name]), path)
    shape = read_shape([read_header(path)])
    assert shape is not None
    start = time.perf_counter()
    found = cells(name, path, list(choices(shape, quick=quick)))
    print(f"{name}: {len(found)} cells in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return found


def _summary(errors: Sequence[float]) -> str:
    share = sum(abs(error) <= 0.03 for error in errors) / len(errors)
    return f"{median(errors):+7.2%} {min(errors):+7.2%} {max(errors):+7.2%} {share:11.1%}"


if __name__ == "__main__":
    main(sys.argv[1:])
