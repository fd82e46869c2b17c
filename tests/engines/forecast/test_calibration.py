import json

import pytest

from localllm_magics.engines.forecast.calibration import DeviceSpeed, device_from_json, device_to_json
from tests.engines.forecast.speeds_of import GB, device_speed, type_speed

STORED = device_to_json(device_speed(visit_seconds=0.5))


def test_the_bytes_and_the_matrices_of_each_type_take_their_time() -> None:
    device = device_speed()
    types = {"Q4_0": type_speed(matrix=0.001), "F16": type_speed(2 * 10 * GB, matrix=0.003)}

    seconds = DeviceSpeed(**{**device_to_json(device), "types": types}).decode_seconds(  # type: ignore[arg-type]
        (("Q4_0", GB), ("F16", GB)), 4, 0.5
    )

    assert seconds == pytest.approx(0.5 * (1 / 10 + 1 / 20) + 4 * (0.001 / 2 + 0.003 / 2))


def test_experts_of_a_prompt_have_a_rate_of_their_own() -> None:
    device, sizes = device_speed(), (("Q4_0", GB),)

    assert device.prompt_seconds(sizes) == pytest.approx(1 / 100)
    assert device.prompt_seconds(sizes, 0.5, is_mixed=True) == pytest.approx(1 / 100)


@pytest.mark.parametrize(
    ("sizes", "missing"),
    [
        pytest.param((), set(), id="nothing"),
        pytest.param((("Q4_0", 100), ("F32", 100)), set(), id="one that is as fast as another"),
        pytest.param((("Q4_0", 99), ("IQ1_S", 1)), set(), id="next to nothing"),
        pytest.param((("Q4_0", 90), ("IQ1_S", 10)), {"IQ1_S"}, id="a tenth"),
    ],
)
def test_only_types_of_many_bytes_must_be_measured(sizes: tuple[tuple[str, int], ...], missing: set[str]) -> None:
    device = device_speed()

    assert device.missing_types(sizes) == missing
    if missing:
        with pytest.raises(LookupError):
            device.decode_seconds(sizes, 1)
    else:
        assert device.decode_seconds(sizes, 1) >= 0


def test_the_little_that_was_not_measured_is_taken_as_slow() -> None:
    assert device_speed().decode_seconds((("F16", 99 * GB), ("IQ1_S", GB)), 1) == pytest.approx(99 / 20 + 1 / 10)


def test_no_bytes_of_a_type_take_no_time() -> None:
    assert device_speed().decode_seconds((("Q4_0", 0),), 1) == 0


def test_a_device_comes_back_from_its_json() -> None:
    device = device_speed(visit_seconds=0.5)

    assert device_from_json(json.loads(json.dumps(device_to_json(device)))) == device


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param(STORED | {"types": None}, id="no types"),
        pytest.param(STORED | {"types": {}}, id="types of nothing"),
        pytest.param(STORED | {"types": {"Q4_0": 1}}, id="a type that is a number"),
        pytest.param(STORED | {"types": {str(number): {} for number in range(101)}}, id="too many types"),
        pytest.param(STORED | {"visit_seconds": "1"}, id="text"),
        pytest.param(STORED | {"visit_seconds": True}, id="a flag"),
        pytest.param(STORED | {"visit_seconds": float("nan")}, id="no number"),
        pytest.param(STORED | {"visit_seconds": -1.0}, id="less than nothing"),
        pytest.param({**STORED, "types": {"Q4_0": {"bytes_per_second": 0.0}}}, id="a rate of 0"),
        pytest.param({key: value for key, value in STORED.items() if key != "visit_seconds"}, id="one is missing"),
    ],
)
def test_bad_json_is_refused(stored: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is not told
        device_from_json(stored)
