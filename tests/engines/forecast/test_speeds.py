from dataclasses import replace

import pytest

from localllm_magics.engines.forecast.calibration import DeviceSpeed, TypeSpeed
from localllm_magics.engines.forecast.speeds import Attention, Decode, Prompt, Timings, device_speed

MB = 10**6
TRUE = DeviceSpeed(
    types={
        name: TypeSpeed(
            bytes_per_second=rate,
            matrix_seconds=5e-6,
            prompt_bytes_per_second=10 * rate,
            expert_bytes_per_second=4 * rate,
        )
        for name, rate in (("Q4_0", 40e9), ("F16", 50e9))
    },
    visit_seconds=1e-4,
    vocabulary_seconds=1e-9,
    attention_seconds=1e-10,
    cache_byte_seconds=2e-11,
    prompt_attention_seconds=5e-11,
    prompt_layer_seconds=1e-8,
)


def decode(name: str, layer_bytes: int, layers: int) -> Decode:
    speed = TRUE.types[name]
    seconds = TRUE.visit_seconds + layers * (layer_bytes / speed.bytes_per_second + 7 * speed.matrix_seconds)
    return Decode(layers=layers, layer_bytes=layer_bytes, seconds=seconds)


def prompt(name: str, width: int, layers: int, *, has_experts: bool = False) -> Prompt:
    speed, attention, other, tokens = TRUE.types[name], layers * 4 * width**2, (layers - 1) * 9 * width**2, 128
    rate = speed.expert_bytes_per_second if has_experts else speed.prompt_bytes_per_second
    each = attention / speed.prompt_bytes_per_second + other / rate
    each += TRUE.prompt_layer_seconds * width * (layers - 0.5)
    each += TRUE.prompt_attention_seconds * width * layers * tokens / 2
    return Prompt(
        layers=layers, width=width, attention_bytes=attention, other_bytes=other, tokens=tokens, seconds=tokens * each
    )


def attention(cache_bytes: int) -> Attention:
    return Attention(
        width=1024,
        cache_bytes=cache_bytes,
        decode=1024 * TRUE.attention_seconds + cache_bytes * TRUE.cache_byte_seconds,
        prompt=1024 * TRUE.prompt_attention_seconds,
    )


TIMINGS = Timings(
    decodes={name: (decode(name, 6 * MB, 20), decode(name, 25 * MB, 5)) for name in TRUE.types},
    prompts={name: prompt(name, 2048, 2) for name in TRUE.types},
    experts={name: prompt(name, 1024, 2, has_experts=True) for name in TRUE.types},
    small_prompt=prompt("Q4_0", 512, 4),
    attentions=(attention(1024), attention(4096)),
    visit=TRUE.visit_seconds,
    vocabulary=TRUE.vocabulary_seconds,
)


def numbers(device: DeviceSpeed) -> list[float]:
    constants = [getattr(device, name) for name in device.__slots__ if name != "types"]
    return constants + [getattr(speed, name) for speed in device.types.values() for name in speed.__slots__]


def test_the_speed_that_made_the_times_is_found() -> None:
    found = device_speed(TIMINGS)

    assert found.types.keys() == TRUE.types.keys()
    assert numbers(found) == pytest.approx(numbers(TRUE))


@pytest.mark.parametrize(
    "disturbed",
    [
        pytest.param(
            replace(TIMINGS, decodes={"Q4_0": (decode("Q4_0", 6 * MB, 20), decode("Q4_0", 25 * MB, 1))}), id="decode"
        ),
        pytest.param(
            replace(
                TIMINGS, decodes={"Q4_0": (replace(decode("Q4_0", 6 * MB, 20), seconds=9.0), decode("Q4_0", MB, 5))}
            ),
            id="a narrow model that is slower than a wide one",
        ),
        pytest.param(replace(TIMINGS, visit=100.0), id="a visit longer than all"),
        pytest.param(replace(TIMINGS, small_prompt=replace(TIMINGS.small_prompt, seconds=50.0)), id="small prompt"),
        pytest.param(replace(TIMINGS, small_prompt=replace(TIMINGS.small_prompt, seconds=1e-6)), id="no small prompt"),
        pytest.param(
            replace(TIMINGS, attentions=(replace(attention(1024), decode=0.0, prompt=1.0), attention(4096))),
            id="attention longer than all",
        ),
        pytest.param(replace(TIMINGS, attentions=(attention(4096), attention(1024))), id="a cache that is faster"),
        pytest.param(
            replace(TIMINGS, experts={name: replace(each, seconds=1e-6) for name, each in TIMINGS.experts.items()}),
            id="experts that take no time",
        ),
    ],
)
def test_times_of_a_busy_machine_give_a_speed_all_the_same(disturbed: Timings) -> None:
    found = device_speed(disturbed)

    assert min(numbers(found)) >= 0
    assert all(speed.bytes_per_second > 0 and speed.prompt_bytes_per_second > 0 for speed in found.types.values())
