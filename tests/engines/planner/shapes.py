"""Small shapes for tests of plans, and a machine."""

from dataclasses import replace

from localllm_magics.core.memory_plan import DeviceMemory, MachineMemory
from localllm_magics.core.model_shape import LayerShape, ModelShape

MB, GB = 10**6, 10**9
LAYER = LayerShape(
    attention=(("Q4_0", 30 * MB),),
    feed_forward=(("Q4_0", 90 * MB),),
    key_width=256,
    value_width=256,
    query_width=1024,
)
DENSE = ModelShape(
    architecture="llama",
    kinds=(LAYER,),
    order=(0,) * 10,
    input=(("Q6_K", 50 * MB),),
    output=(("F32", 4096), ("Q6_K", 50 * MB)),
    width=1024,
    inner_width=4096,
    activation_width=4096,
    heads=8,
    vocabulary=32_000,
)
EXPERTS = replace(
    DENSE,
    kinds=(replace(LAYER, feed_forward=(), experts=(("Q4_0", 900 * MB),)),),
    inner_width=2048,
    activation_width=4096,
    experts=8,
    experts_used=2,
)
RECURRENT = replace(
    DENSE,
    architecture="mamba",
    kinds=(LayerShape(attention=(("F16", 30 * MB),), state_bytes=400_000, state_width=10_240),),
    activation_width=0,
    inner_width=0,
    heads=0,
)


def machine(host: int = 16 * GB, *devices: int, shared: bool = False) -> MachineMemory:
    """A machine with so much free memory on the host and on each device, which may share the host's."""
    return MachineMemory(
        host=DeviceMemory(name="CPU", free=host, total=16 * GB, is_host=True),
        devices=tuple(
            DeviceMemory(name=f"CUDA{index}", free=free, total=free, is_host=shared)
            for index, free in enumerate(devices)
        ),
    )
