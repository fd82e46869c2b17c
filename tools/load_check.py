"""Compare llama.cpp's plan of a load with the load itself, on the CPU and with layers on a device that is none.

The device is llama.cpp's RPC server, another process of this machine. Each plan is made in both ways: from the count of
llama.cpp's library, and from its log.

    python -m tools.load_check [--json] [FILE ...]
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from localllm_magics import demo
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import new_context
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.placement import placement
from localllm_magics.engines.kernel.worker.log_breakdown import log_breakdown, output_buffer
from localllm_magics.engines.kernel.worker.planner import exact_plans
from tools.bench.random_model import HALF_BILLION, default_folder, random_model
from tools.rpc_device import rpc_device

LAYERS = (0, 2, 999)
WEIGHTS = ((False, True), (False, False), (True, False))
"""Whether they are mapped, and whether they are repacked."""
CACHES = (("f16", True), ("q8_0", True), ("f16", False))
"""Types of the KV cache, and whether with flash attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A load with one choice of settings: bytes that were planned in both ways, and that were taken."""

    model: str
    settings: PlanSettings
    planned: int
    logged: int
    taken: int

    def __str__(self) -> str:
        s = self.settings
        return (
            f"{self.model:28} layers {s.gpu_layers:3} {'mapped' if s.map_file else 'copied'} "
            f"{'repacked' if s.repack else 'plain   '} {s.kv_type:5}{'fa' if s.flash_attention else '--'} "
            f"{self.taken / 1e6:9.2f} MB {self.planned / self.taken - 1:+7.2%} {self.logged / self.taken - 1:+7.2%}"
        )


def choices(context: int) -> Iterator[PlanSettings]:
    """All combinations of settings that a model is loaded with."""
    for layers, (map_file, repack), (kv_type, flash) in product(LAYERS, WEIGHTS, CACHES):
        yield PlanSettings(
            context=context,
            gpu_layers=layers,
            map_file=map_file,
            repack=repack,
            kv_type=kv_type,
            flash_attention=flash,
        )


def rows(lib: Library, path: Path, settings: Sequence[PlanSettings]) -> Iterator[Row]:
    """A row for each of SETTINGS."""
    for plan in exact_plans(lib, path, settings, Stop()):
        yield Row(
            model=path.stem,
            settings=plan.settings,
            planned=plan.needed,
            logged=_logged(lib, path, plan.settings),
            taken=_taken(lib, path, plan.settings),
        )


def _logged(lib: Library, path: Path, settings: PlanSettings) -> int:
    model = LlamaModel(lib, path, settings, stop=Stop(), allocate=False)
    context, log = new_context(lib, model, settings, threads=1)
    buffers = [*log_breakdown(lib, path, settings, model.log, log), output_buffer(log)]
    lib.api.llama_free(context)
    model.close()
    return sum(each.weights + each.kv_cache + each.compute for each in buffers)


def _taken(lib: Library, path: Path, settings: PlanSettings) -> int:
    model = LlamaModel(lib, path, settings, stop=Stop())
    context, log = new_context(lib, model, settings, threads=1)
    lib.api.llama_free(context)
    model.close()
    return placement(model.log + log, lib.devices()).memory_bytes


def main(arguments: Sequence[str]) -> None:
    """Print a row for each load, and the largest error of each way."""
    names = [Path(word) for word in arguments if word != "--json"]
    paths = names or [demo.PATH, random_model(HALF_BILLION, default_folder())]
    lib = library()
    with rpc_device() as endpoint:
        lib.add_rpc_server(endpoint)
        found: list[Row] = []
        for path in paths:
            for row in rows(lib, path, list(choices(1024))):
                found.append(row)
                print(json.dumps(asdict(row)) if "--json" in arguments else row, flush=True)
    if "--json" not in arguments:
        for way in ("planned", "logged"):
            errors = [abs(getattr(row, way) / row.taken - 1) for row in found]
            print(f"{way}: {len(errors)} loads, at most {max(errors):.2%} from what was taken")


if __name__ == "__main__":
    main(sys.argv[1:])
