"""Which layers go to which device, as llama.cpp splits them."""

from bisect import bisect_left, bisect_right
from itertools import accumulate

from localllm_magics.core.memory_plan import MachineMemory


def split_layers(layers: int, gpu_layers: int, machine: MachineMemory) -> list[range]:
    """The layers of the host and of each device; the output layer counts as one more, after the last.

    The last GPU_LAYERS are offloaded, several devices have parts as large as their free memory.

    Args:
        layers: Repeating layers.
        gpu_layers: How many are offloaded, the output layer counted as one.
        machine: Without devices nothing is offloaded.
    """
    offloaded = min(max(0, gpu_layers), layers + 1) if machine.devices else 0
    start = layers + 1 - offloaded
    # llama.cpp takes a device that reports no memory at all for one with the host's.
    free = [device.free if device.free or device.total else machine.host.free for device in machine.devices]
    ends = [part / (sum(free) or 1) for part in accumulate(free)]
    owners = [bisect_right(ends, layer / offloaded, hi=len(ends) - 1) for layer in range(offloaded)]
    devices = [
        range(start + bisect_left(owners, device), start + bisect_right(owners, device)) for device in range(len(free))
    ]
    return [range(start), *devices]
