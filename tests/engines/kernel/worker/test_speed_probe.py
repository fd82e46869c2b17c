import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibration import device_from_json
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker import speed_probe
from localllm_magics.engines.kernel.worker.process import run_in_subprocess
from localllm_magics.engines.kernel.worker.speed_probe import Effort, measure, probe
from localllm_magics.engines.kernel.worker.tiny_bench import Place

LITTLE = Effort(size=1e6, prompt=8, seconds=0.0)


@pytest.fixture
def place(lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(lib=lib, threads=1)


def test_a_device_is_measured(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    probe(place, ["Q8_0", "Q99_Z", "Q8_K", "I32"], LITTLE)

    *progress, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert progress == [{"event": "progress", "part": 0.5}]
    assert (last["event"], last["is_gpu"]) == ("device", False)
    device = device_from_json(last["speed"])
    assert device.types.keys() == {"Q8_0"}
    assert device.types["Q8_0"].bytes_per_second > 0
    assert device.vocabulary_seconds > 0


def test_a_gpu_is_measured_with_what_it_brings_back(lib: Library, place: Place) -> None:
    found = measure(Place(lib=lib, threads=1, is_gpu=True), ["Q8_0"], LITTLE, lambda _: None)

    assert found.vocabulary >= 0
    assert found.visit > 0


def test_the_program_measures_what_it_is_told() -> None:
    question = {"types": ["Q8_0"], "repack": False, "rpc": [], "effort": asdict(LITTLE)}

    with run_in_subprocess([sys.executable, "-m", speed_probe.__name__, json.dumps(question)], Stop()) as process:
        events = [record["event"] for record in process.records()]

    assert events == ["progress", "device"]


def test_the_program_reports_an_rpc_device_that_does_not_answer() -> None:
    question = json.dumps({"types": ["Q8_0"], "repack": True, "rpc": ["127.0.0.1:9"]})

    with run_in_subprocess([sys.executable, "-m", speed_probe.__name__, question], Stop()) as process:
        assert list(process.records()) == []

    assert process.exit is not None
    assert "No RPC server answers at 127.0.0.1:9" in process.exit.stderr
