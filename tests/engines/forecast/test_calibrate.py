import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.core.errors import EngineCrashed, NotEnoughMemory, SetupError
from localllm_magics.core.model_shape import LayerShape
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.forecast import calibrate as module
from localllm_magics.engines.forecast.calibrate import TYPES, calibrate, calibrate_for
from localllm_magics.engines.forecast.calibration import device_to_json
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key, stored_calibration
from localllm_magics.engines.kernel.library import Library
from tests.engines.forecast.speeds_of import BOTH, CPU, DENSE, device_speed, model

SPEED = device_to_json(device_speed())
CPU_LINE = json.dumps({"event": "device", "is_gpu": False, "speed": SPEED})
GPU_LINE = json.dumps({"event": "device", "is_gpu": True, "speed": device_to_json(BOTH.gpu)})  # type: ignore[arg-type]
HALF, BAD_PART, NOTHING, NO_DEVICE = (
    json.dumps(record)
    for record in (
        {"event": "progress", "part": 0.5},
        {"event": "progress", "part": "x"},
        {"event": "other"},
        {"event": "device", "is_gpu": False, "speed": {}},
    )
)


def program(*lines: str, then: str = "pass") -> tuple[str, ...]:
    return (sys.executable, "-c", f"import os, sys, time\nprint({chr(10).join(lines)!r}, flush=True)\n{then}")


def test_what_was_measured_is_stored_for_this_machine(lib: Library, cache: Path) -> None:
    parts: list[float] = []
    command = program(HALF, BAD_PART, NOTHING, CPU_LINE, GPU_LINE)

    found = calibrate(lib, Stop(), parts.append, command=command)

    assert parts == [0.5]
    assert (found.cpu, found.gpu) == (BOTH.cpu, BOTH.gpu)
    assert stored_calibration(lib) == found
    assert found.measured_at > 0


def test_only_what_models_need_is_measured_later(lib: Library, tmp_path: Path) -> None:
    store = SpeedStore(tmp_path / "speed.json")
    told = tmp_path / "told"
    command = program(CPU_LINE, then=f"open({str(told)!r}, 'a').write(sys.argv[1] + chr(10))")
    exotic = model(LayerShape(attention=(("IQ1_S", 100), ("Q99_Z", 100), ("Q8_K", 100), ("I32", 100))))

    for shapes in ([], [model(DENSE)], [model(DENSE), exotic]):
        calibrate_for(lib, shapes, Stop(), command=command, store=store)

    asked = [json.loads(line)["types"] for line in told.read_text("utf-8").splitlines()]
    assert asked == [[*TYPES], ["IQ1_S"]]


def test_what_was_measured_on_a_busy_machine_is_measured_again(lib: Library, tmp_path: Path) -> None:
    store = SpeedStore(tmp_path / "speed.json")
    told = tmp_path / "told"
    store.put(speed_key(lib), replace(CPU, noise=2.0))
    quiet = json.dumps({"event": "device", "is_gpu": False, "speed": SPEED, "noise": 1.2})
    command = program(quiet, then=f"open({str(told)!r}, 'a').write(sys.argv[1] + chr(10))")

    found = [calibrate_for(lib, [model(DENSE)], Stop(), command=command, store=store) for _ in range(2)]

    assert [each.noise for each in found] == [1.2, 1.2]
    assert [json.loads(line)["types"] for line in told.read_text("utf-8").splitlines()] == [["Q4_0", "F16"]]


def test_the_users_own_calibration_is_used(lib: Library, cache: Path) -> None:
    SpeedStore().put(speed_key(lib), CPU)

    assert calibrate_for(lib, [model(DENSE)], Stop()) == CPU


def test_a_gpu_that_cannot_be_measured_leaves_the_cpu(lib: Library, tmp_path: Path) -> None:
    store = SpeedStore(tmp_path / "speed.json")

    found = calibrate(lib, Stop(), command=program(CPU_LINE, then="os.abort()"), store=store)

    assert (found.cpu, found.gpu) == (CPU.cpu, None)
    assert store.get(speed_key(lib)) == found


def test_the_program_is_told_what_to_measure(lib: Library, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = program(CPU_LINE, then=f"open({str(told)!r}, 'w').write(sys.argv[1])")

    calibrate(lib, Stop(), command=command, store=SpeedStore(tmp_path / "speed.json"))

    question = json.loads(told.read_text("utf-8"))
    assert question == {"types": [*TYPES], "repack": True, "rpc": []}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(program(NO_DEVICE), "could not be measured.", id="nothing"),
        pytest.param(program(then="sys.exit('went wrong')"), "could not be measured: went wrong.", id="an error"),
        pytest.param(("/nowhere/python",), "could not be measured.", id="no program"),
    ],
)
def test_what_goes_wrong_is_said(lib: Library, cache: Path, command: tuple[str, ...], message: str) -> None:
    with pytest.raises(SetupError, match=message) as caught:
        calibrate(lib, Stop(), command=command)

    assert not isinstance(caught.value, EngineCrashed)

    assert stored_calibration(lib) is None


def test_a_machine_that_is_too_busy_is_not_measured(lib: Library, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SECONDS", 0)

    with pytest.raises(SetupError, match="other programs keep it busy"):
        calibrate(lib, Stop(), command=program(then="time.sleep(60)"))


def test_a_full_memory_is_not_filled_further(lib: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda: 200_000_000)

    with pytest.raises(NotEnoughMemory, match="takes 1 GB of memory, and 0"):
        calibrate(lib, Stop(), command=program(CPU_LINE))


def test_a_stop_ends_it(lib: Library, cache: Path) -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        calibrate(lib, stop, command=program(then="time.sleep(60)"))
