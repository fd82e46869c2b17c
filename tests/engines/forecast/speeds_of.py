"""Machines and models with round numbers."""

from localllm_magics.core.model_shape import LayerShape, ModelShape
from localllm_magics.engines.forecast.calibration import Calibration, DeviceSpeed, TypeSpeed

GB = 10**9


def type_speed(rate: float = 10 * GB, *, matrix: float = 0.0, prompt: float = 100 * GB) -> TypeSpeed:
    return TypeSpeed(
        bytes_per_second=float(rate),
        matrix_seconds=matrix,
        prompt_bytes_per_second=float(prompt),
        expert_bytes_per_second=prompt / 2,
    )


def device_speed(rate: float = 10 * GB, **constants: float) -> DeviceSpeed:
    """One that computes with `Q4_0` at RATE and with `F16` at twice that; CONSTANTS are 0 where not given."""
    names = (
        "visit_seconds vocabulary_seconds attention_seconds cache_byte_seconds "
        "prompt_attention_seconds prompt_layer_seconds"
    )
    types = {"Q4_0": type_speed(rate, prompt=10 * rate), "F16": type_speed(2 * rate, prompt=20 * rate)}
    return DeviceSpeed(types=types, **(dict.fromkeys(names.split(), 0.0) | constants))


CPU = Calibration(cpu=device_speed())
BOTH = Calibration(cpu=device_speed(), gpu=device_speed(100 * GB))
DENSE = LayerShape(
    attention=(("Q4_0", GB // 10),), feed_forward=(("Q4_0", GB // 10),), key_width=64, value_width=64, query_width=128
)
"""A layer that takes 20 ms to decode."""
MIXED = LayerShape(attention=(("Q4_0", GB // 10),), experts=(("Q4_0", GB),))


def model(*layers: LayerShape, output: int = GB // 10, experts: int = 0, used: int = 0) -> ModelShape:
    kinds = tuple(dict.fromkeys(layers))
    return ModelShape(
        architecture="llama",
        kinds=kinds,
        order=tuple(map(kinds.index, layers)),
        output=(("Q4_0", output),),
        width=1000,
        vocabulary=1000,
        experts=experts,
        experts_used=used,
    )
