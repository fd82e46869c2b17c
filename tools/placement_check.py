"""Compare the placement from the header with llama.cpp's own, for many shapes and sizes of a device; nothing is loaded.

python -m tools.placement_check [SHAPE ...]
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from localllm_magics.catalog.gguf import read_header
from localllm_magics.catalog.shape import read_shape
from localllm_magics.core.memory_plan import MachineMemory, PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.machine_memory import machine_memory
from localllm_magics.engines.kernel.worker.planner import llama_placement
from localllm_magics.engines.planner.fit import MARGIN, fit
from localllm_magics.engines.sparse_gguf import write_sparse
from tools.rpc_device import rpc_device
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

SIZES = (2, 4, 6, 8, 12, 16, 24)
"""Of the device, in gigabytes."""
CONTEXTS = (4096, 32_768)


def check(name: str, path: Path) -> list[bool]:
    """Print both placements of the file for each size and context; whether they are equal."""
    lib = library()
    shape = read_shape([read_header(path)])
    assert shape is not None
    equal = []
    for gigabytes in SIZES:
        for context in CONTEXTS:
            machine = machine_memory(lib)
            [device] = machine.devices
            size = gigabytes * 10**9
            start = time.perf_counter()
            settings = PlanSettings(context=context)
            # What must stay free makes the device as small as it is to be.
            found = llama_placement(lib, path, settings, Stop(), margin=device.free - size + MARGIN)
            seconds = time.perf_counter() - start
            small = MachineMemory(host=machine.host, devices=(replace(device, free=size, total=size),))
            estimated = fit(shape, small, settings)
            here = (found.gpu_layers, found.overrides) == (estimated.max_gpu_layers, estimated.overrides)
            equal.append(here)
            print(
                f"{name:16} {gigabytes:3} GB {context:6}  llama.cpp {found.gpu_layers:3} + {len(found.overrides):3}  "
                f"header {estimated.max_gpu_layers:3} + {len(estimated.overrides):3}  {seconds:5.1f} s "
                f"{'' if here else 'DIFFERENT'}",
                flush=True,
            )
            if not here:
                print("   ", found.overrides[:2], estimated.overrides[:2])
    return equal


def main(arguments: Sequence[str]) -> None:
    """Print a line for each cell, and how many are equal."""
    with tempfile.TemporaryDirectory() as folder, rpc_device() as endpoint:
        library().add_rpc_server(endpoint)
        equal: list[bool] = []
        for name in arguments or SHAPES:
            path = Path(folder) / f"{name}.gguf"
            write_sparse(to_model(SHAPES[name]), path)
            equal += check(name, path)
    print(f"{sum(equal)} of {len(equal)} placements are llama.cpp's own")


if __name__ == "__main__":
    main(sys.argv[1:])
