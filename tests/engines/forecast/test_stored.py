import json
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape
from localllm_magics.engines.forecast.forecast import forecast
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key, stored_calibration
from localllm_magics.engines.kernel.library import Library
from tests.engines.forecast.speeds_of import BOTH, CPU, DENSE, device_speed, model, type_speed

ONE, SHAPE = PlanSettings(context=1024), model(DENSE)
MACHINE = "a machine"


@pytest.fixture
def store(tmp_path: Path) -> SpeedStore:
    return SpeedStore(tmp_path / "speed.json")


@pytest.mark.parametrize("calibration", [pytest.param(CPU, id="CPU"), pytest.param(BOTH, id="with a GPU")])
def test_a_calibration_is_kept_for_its_machine(store: SpeedStore, calibration: object) -> None:
    assert store.put(MACHINE, calibration) == store.get(MACHINE) == calibration  # type: ignore[arg-type]
    assert store.get("another machine") is None


def test_types_are_added_to_those_that_were_measured_and_lessons_stay(store: SpeedStore) -> None:
    store.put(MACHINE, BOTH)
    store.learn(MACHINE, {"decode": 1.2}, SHAPE, ONE)
    more = replace(device_speed(), types={"Q5_K": type_speed()})

    both = store.put(MACHINE, replace(BOTH, cpu=more, gpu=more))

    assert both == store.get(MACHINE)
    assert both.cpu.types.keys() == {"Q4_0", "F16", "Q5_K"}
    assert both.gpu is not None
    assert both.gpu.types.keys() == {"Q4_0", "F16", "Q5_K"}
    assert 1.2 in both.corrections.values()


def test_more_types_change_nothing_of_what_was_measured_before(store: SpeedStore) -> None:
    store.put(MACHINE, replace(BOTH, cpu=device_speed(visit_seconds=1.0)))
    more = replace(device_speed(visit_seconds=9.0), types={"Q5_K": type_speed()})

    both = store.put(MACHINE, replace(BOTH, cpu=more, gpu=more, noise=3.0))

    assert (both.cpu.visit_seconds, both.gpu and both.gpu.visit_seconds) == (1.0, 0.0)
    assert both.cpu.types.keys() == {"Q4_0", "F16", "Q5_K"}
    assert (both.is_noisy, store.get(MACHINE)) == (True, both)


@pytest.mark.parametrize(
    ("noises", "rate"),
    [
        pytest.param((3.0, 1.2), 2e9, id="the machine has calmed down"),
        pytest.param((2.0, 2.0), 2e9, id="as noisy: the newer one"),
        pytest.param((1.2, 3.0), 1e9, id="the machine has become busy"),
    ],
)
def test_of_two_measurements_the_one_with_less_noise_stays(
    store: SpeedStore, noises: tuple[float, float], rate: float
) -> None:
    first, second = noises
    store.put(MACHINE, replace(CPU, cpu=device_speed(10**9), noise=first))

    found = store.put(MACHINE, replace(CPU, cpu=device_speed(2 * 10**9), noise=second))

    assert (found.cpu.types["Q4_0"].bytes_per_second, found.noise) == (rate, min(noises))


@pytest.mark.parametrize(
    ("ratios", "is_known"),
    [
        pytest.param([0.1, 0.1], True, id="two"),
        pytest.param([0.1, 0.1, 0.1], False, id="three"),
        pytest.param([0.1, 0.1, 1.0, 0.1], True, id="not in a row"),
        pytest.param([0.01, 0.01, 0.01], False, id="three that are even slower"),
    ],
)
def test_a_machine_whose_answers_stay_far_slower_is_measured_again(
    store: SpeedStore, ratios: list[float], is_known: bool
) -> None:
    store.put(MACHINE, CPU)

    for ratio in ratios:
        store.learn(MACHINE, {"decode": ratio}, SHAPE, ONE)

    assert (store.get(MACHINE) is not None) == is_known


def test_a_small_model_says_nothing_of_the_machine(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)
    small = model(LayerShape(attention=(("Q4_0", 100),)))

    for ratio in (0.1, 0.1, 0.1, 10.0):
        store.learn(MACHINE, {"decode": ratio}, small, ONE)

    assert store.get(MACHINE) is not None


def test_a_gpu_that_came_or_went_is_taken_as_it_is(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)

    assert store.put(MACHINE, BOTH).gpu == BOTH.gpu
    assert store.put(MACHINE, CPU).gpu is None


def test_what_answers_taught_ends_when_a_type_is_measured_anew(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)
    store.learn(MACHINE, {"decode": 1.2}, SHAPE, ONE)

    assert store.put(MACHINE, CPU) == CPU


def test_answers_change_forecasts_from_one_process_to_the_next(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)
    before = forecast(SHAPE, ONE, CPU)

    store.learn(MACHINE, {"decode": 1.2, "prompt": 1.1}, SHAPE, ONE)
    known = store.get(MACHINE)

    assert known is not None
    after = forecast(SHAPE, ONE, known)
    assert before is not None
    assert after is not None
    assert after.tokens_per_second == pytest.approx(1.2 * before.tokens_per_second)
    assert after.prompt_tokens_per_second == pytest.approx(1.1 * before.prompt_tokens_per_second)


def test_a_machine_that_was_measured_while_it_was_busy_is_forgotten(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)

    store.learn(MACHINE, {"decode": 10.0}, SHAPE, ONE)

    assert store.get(MACHINE) is None


def test_nothing_is_learned_of_an_unknown_machine_or_from_nothing(store: SpeedStore) -> None:
    store.learn(MACHINE, {"decode": 1.2}, SHAPE, ONE)
    assert store.get(MACHINE) is None

    store.put(MACHINE, CPU)
    store.learn(MACHINE, {}, SHAPE, ONE)
    assert store.get(MACHINE) == CPU


def test_only_the_last_machines_are_kept(store: SpeedStore) -> None:
    for number in range(10):
        store.put(str(number), CPU)

    assert [store.get(str(number)) is not None for number in range(10)] == [False] * 2 + [True] * 8


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[" * 100_000, id="nested"),
        pytest.param("[]", id="a list"),
        pytest.param(json.dumps({"version": 0, "machines": {MACHINE: {}}}), id="another version"),
        pytest.param(json.dumps({"version": 1, "machines": []}), id="machines that are a list"),
        pytest.param(json.dumps({"version": 1, "machines": {MACHINE: []}}), id="a machine that is a list"),
        pytest.param(json.dumps({"version": 1, "machines": {MACHINE: {"cpu": {}}}}), id="a machine without types"),
    ],
)
def test_bad_content_is_no_calibration_and_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(content, "utf-8")
    store = SpeedStore(path)

    assert store.get(MACHINE) is None
    assert store.put(MACHINE, CPU) == store.get(MACHINE)


@pytest.mark.parametrize("time", ['"x"', "-1", "NaN", "1e300", f"1{'0' * 400}"], ids=lambda time: time[:5])
def test_a_bad_time_is_none(store: SpeedStore, tmp_path: Path, time: str) -> None:
    store.put(MACHINE, replace(CPU, measured_at=5.0))
    path = tmp_path / "speed.json"
    assert store.get(MACHINE) == replace(CPU, measured_at=5.0)

    path.write_text(path.read_text("utf-8").replace('"measured_at": 5.0', f'"measured_at": {time}'), "utf-8")

    assert store.get(MACHINE) == CPU


def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    store = SpeedStore(tmp_path / "file" / "speed.json")

    assert store.put(MACHINE, CPU) == CPU
    assert store.get(MACHINE) is None
    assert store.clear() == 0


def test_clearing_frees_the_file(store: SpeedStore) -> None:
    store.put(MACHINE, CPU)

    assert store.clear() > 0
    assert store.get(MACHINE) is None
    assert repr(store).startswith("<SpeedStore ")


def test_the_calibration_of_this_machine_is_in_the_users_cache(lib: Library, cache: Path) -> None:
    SpeedStore().put(speed_key(lib), CPU)

    assert stored_calibration(lib) == CPU
