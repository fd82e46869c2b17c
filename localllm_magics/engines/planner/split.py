"""Which layers go to which device, as llama.cpp splits them."""

from bisect import bisect_left, bisect_right
from itertools import accumulate

from localllm_magics.core.memory_plan import MachineMemory, PlanSettings


def split_layers(layers: int, settings: PlanSettings, machine: MachineMemory) -> list[range]:
    """The layers of the host and of each device of MACHINE; the output layer counts as one more, after the last.

    The last layers are offloaded. Of several devices each has as many as the settings say, or else a part as large as
    its free memory.

    Args:
        layers: Repeating layers.
        settings: Its `gpu_layers` are offloaded, its `split` goes to the devices.
        machine: Without devices nothing is offloaded.
    """
    offloaded = min(max(0, settings.gpu_layers), layers + 1) if machine.devices else 0
    start = layers + 1 - offloaded
    # llama.cpp takes a device that reports no memory at all for one with the host's.
    free = [device.free if device.free or device.total else machine.host.free for device in machine.devices]
    weights = settings.split if len(settings.split) == len(free) else free
    ends = [part / (sum(weights) or 1) for part in accumulate(weights)]
    owners = [bisect_right(ends, layer / offloaded, hi=len(ends) - 1) for layer in range(offloaded)]
    devices = [
        range(start + bisect_left(owners, device), start + bisect_right(owners, device)) for device in range(len(free))
    ]
    return [range(start), *devices]
