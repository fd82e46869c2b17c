from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.cache_folder import cache_folder
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library
from tests.engines.forecast.speeds_of import CPU, device_speed, type_speed
from tests.engines.kernel.asking import LONG, answer, ask

LONG_ANSWER = Sampling(temperature=0.0, max_tokens=40)
MEASURED = replace(CPU, cpu=replace(device_speed(), types={"Q8_0": type_speed(8e9), "F16": type_speed(8e9)}))


@pytest.fixture
def key(lib: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """That of this machine, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return speed_key(lib)


def test_an_answer_is_compared_with_its_forecast(demo: ModelInfo, key: str) -> None:
    SpeedStore().put(key, MEASURED)

    with closing(KernelEngine(demo, LoadOptions())) as engine:
        answer(engine, ask(LONG, LONG_ANSWER))
        compared = engine.status().compared

    assert compared is not None
    assert demo.shape is not None
    assert compared.forecast > 0
    assert compared.measured > 0


@pytest.mark.parametrize(
    ("has_shape", "options"),
    [
        pytest.param(False, LoadOptions(), id="a model of unknown shape"),
        pytest.param(True, LoadOptions(threads=1), id="threads that were not measured"),
    ],
)
def test_an_answer_of_which_there_is_no_forecast_is_not_compared(
    demo: ModelInfo, key: str, has_shape: bool, options: LoadOptions
) -> None:
    SpeedStore().put(key, MEASURED)
    info = demo if has_shape else replace(demo, shape=None)

    with closing(KernelEngine(info, options)) as engine:
        answer(engine, ask(LONG, LONG_ANSWER))
        compared = engine.status().compared

    assert compared is None
    assert SpeedStore().get(key) == MEASURED


def test_an_answer_is_whole_whatever_was_stored(demo: ModelInfo, key: str) -> None:
    store = SpeedStore()
    store.put(key, replace(MEASURED, measured_at=12345.0))
    (path,) = cache_folder().glob("speed.json")
    path.write_text(path.read_text().replace("12345.0", "1" + "0" * 400))

    with closing(KernelEngine(demo, LoadOptions())) as engine:
        completion = answer(engine, ask(LONG, LONG_ANSWER))

    assert (completion.error, engine.status().compared) == (None, None)
