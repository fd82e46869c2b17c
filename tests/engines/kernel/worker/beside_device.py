"""What tests do beside a device that is no CPU: llama.cpp's RPC server, another process of this machine.

A device that was added stays for the life of a process, so each runs in one of its own, and prints its result as JSON.

    python -m tests.engines.kernel.worker.beside_device NAME FILE
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.memory_plan import HOST, PlanSettings
from localllm_magics.core.request import ALL_LAYERS, LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import new_context
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.machine_memory import machine_memory
from localllm_magics.engines.kernel.worker.log_breakdown import log_breakdown
from localllm_magics.engines.kernel.worker.memory_breakdown import Buffers, memory_breakdown
from localllm_magics.engines.kernel.worker.planner import exact_plans, llama_placement
from localllm_magics.engines.planner.fit import MARGIN
from tools.rpc_device import rpc_device

ROOT = Path(__file__).parents[4]
SETTINGS = PlanSettings(context=4096)


def beside_device(name: str, path: Path) -> object:
    """What the function NAME of this module finds for the file at PATH."""
    command = [sys.executable, "-m", __name__, name, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def placed(lib: Library, path: Path) -> object:
    """The layers and overrides on devices of different sizes, and what they and one layer more need there."""
    [everything] = exact_plans(lib, path, [replace(SETTINGS, gpu_layers=ALL_LAYERS)], Stop())
    return [_placed(lib, path, int(share * everything.uses[1].needed)) for share in (0.1, 0.5, 0.8, 1.01)]


def _placed(lib: Library, path: Path, size: int) -> Mapping[str, object]:
    place = partial(llama_placement, lib, path, stop=Stop(), margin=machine_memory(lib).devices[0].free - size)
    found = place(SETTINGS)
    more = replace(found, gpu_layers=found.gpu_layers + 1)
    needed, needed_by_more = (plan.uses[1].needed for plan in exact_plans(lib, path, [found, more], Stop()))
    return {
        "size": size,
        "layers": found.gpu_layers,
        "overrides": found.overrides,
        "needed": needed,
        "needed_by_more": needed_by_more,
        # Settings that llama.cpp's own placement does not take, and that change nothing here.
        "whole_layers": place(replace(SETTINGS, cpu_moe=1)).gpu_layers,
    }


def unplaced(lib: Library, path: Path) -> object:
    """Why the file has no placement."""
    try:
        return asdict(llama_placement(lib, path, SETTINGS, Stop()))
    except LocalLLMError as exc:
        return [exc.kind, exc.message]


def experts(lib: Library, path: Path) -> object:
    """The placement of a mixture of experts on a small device, and weights there with experts on the CPU."""
    free = machine_memory(lib).devices[0].free
    found = llama_placement(lib, path, SETTINGS, Stop(), margin=free - 6 * 10**9 + MARGIN)
    everything = replace(SETTINGS, gpu_layers=ALL_LAYERS)
    others = [everything, replace(everything, cpu_moe=1), replace(everything, cpu_moe=ALL_LAYERS)]
    plans = exact_plans(lib, path, [found, *others], Stop())
    return {"placement": asdict(found), "weights": [plan.uses[1].weights for plan in plans]}


def breakdowns(lib: Library, path: Path) -> object:
    """Bytes by device, from the count of the library and from the log, for each of some settings."""
    choices = [replace(SETTINGS, gpu_layers=layers) for layers in (0, 2, ALL_LAYERS)]
    choices += [
        replace(choices[1], cpu_moe=ALL_LAYERS),
        replace(choices[2], overrides=(r"blk\.1\.ffn_down", r"blk\.0\.ffn_up=RPC0")),
    ]
    return [_breakdowns(lib, path, settings) for settings in choices]


def _breakdowns(lib: Library, path: Path, settings: PlanSettings) -> list[dict[str, list[int]]]:
    model = LlamaModel(lib, path, settings, stop=Stop(), allocate=False)
    context, log = new_context(lib, model, settings, threads=1)
    counted = memory_breakdown(lib, context)
    assert counted is not None
    return [_by_device(counted), _by_device(log_breakdown(lib, path, settings, model.log, log))]


def _by_device(buffers: Sequence[Buffers]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for each in buffers:
        sizes = found.setdefault(each.device or HOST, [0, 0, 0])
        found[each.device or HOST] = [
            a + b for a, b in zip(sizes, (each.weights, each.kv_cache, each.compute), strict=True)
        ]
    return found


def loaded(lib: Library, path: Path) -> object:
    """Where a model is that was loaded with different options, and what its user is told."""
    info, found = describe_file(path, reference="x", source="folder"), []
    for options in (LoadOptions(), LoadOptions(gpu_layers=2, cpu_moe="all", kv_type="q8_0"), LoadOptions(gpu_layers=0)):
        model = LoadedModel(lib, info, options, repack=True, progress=lambda _: None, stop=Stop())
        found.append([model.placement.device, model.placement.gpu_layers, *model.notices])
        model.close()
    return found


def refused(lib: Library, path: Path) -> object:
    """Why the device does not take a context that is far too large."""
    settings = replace(SETTINGS, context=1 << 26, gpu_layers=ALL_LAYERS)
    model = LlamaModel(lib, path, settings, stop=Stop())
    try:
        new_context(lib, model, settings, threads=1)
    except LocalLLMError as exc:
        return [exc.kind, exc.message, exc.hint]
    return []


def named(lib: Library, _path: Path) -> object:
    """Names of the device, of its buffers, and of the device of its buffers."""
    [device] = [device for device in lib.devices() if device.is_gpu]
    return [device.name, device.buffers, lib.buffer_device(lib.buffer_type("RPC0")), lib.gpu_backends()]


if __name__ == "__main__":
    build = library()
    with rpc_device() as endpoint:
        build.add_rpc_server(endpoint)
        function: Callable[[Library, Path], object] = globals()[sys.argv[1]]
        sys.stdout.write(json.dumps(function(build, Path(sys.argv[2]))))
