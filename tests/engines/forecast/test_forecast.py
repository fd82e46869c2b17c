from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import LayerShape
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.forecast import decode_seconds, forecast, missing_types, prompt_seconds
from localllm_magics.engines.forecast.learning import learned, to_corrections
from tests.engines.forecast.speeds_of import BOTH, CPU, DENSE, GB, MIXED, device_speed, model

ONE = PlanSettings(context=1024)
GPU = PlanSettings(context=1024, gpu_layers=ALL_LAYERS)


def test_a_token_reads_all_weights_and_no_embeddings() -> None:
    shape = replace(model(DENSE, DENSE, output=GB), input=(("Q4_0", 100 * GB),))

    assert decode_seconds(shape, ONE, CPU, 0) == pytest.approx(2 * 0.02 + 0.1)


def test_a_token_reads_the_experts_that_are_used() -> None:
    assert decode_seconds(model(MIXED, experts=8, used=2), ONE, CPU, 0) == pytest.approx(0.01 + 0.025 + 0.01)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        pytest.param(PlanSettings(context=1024), 0.05, id="CPU"),
        pytest.param(PlanSettings(context=1024, gpu_layers=2), 0.02 + 0.002 + 0.001, id="half"),
        pytest.param(GPU, 0.005, id="GPU"),
    ],
)
def test_each_device_has_its_rate(settings: PlanSettings, seconds: float) -> None:
    assert decode_seconds(model(DENSE, DENSE), settings, BOTH, 0) == pytest.approx(seconds)


def test_each_visit_and_each_token_to_choose_from_takes_its_time() -> None:
    cpu = device_speed(visit_seconds=0.1, vocabulary_seconds=1e-3)
    gpu = device_speed(100 * GB, visit_seconds=0.2, vocabulary_seconds=2e-3)
    shape, calibration = model(MIXED, output=0, experts=1, used=1), Calibration(cpu=cpu, gpu=gpu)

    on_cpu = decode_seconds(shape, ONE, calibration, 0)
    on_both = decode_seconds(shape, replace(GPU, cpu_moe=1), calibration, 0)

    assert on_cpu == pytest.approx(0.11 + 0.1 + 1)
    assert on_both == pytest.approx(0.001 + 0.1 + 0.1 + 0.2 + 0.2 + 2)


@pytest.mark.parametrize(
    ("window", "kv_type", "seconds"),
    [
        pytest.param(0, "f16", 1000 * (128 * 1e-6 + 256 * 1e-7), id="all"),
        pytest.param(100, "f16", 100 * (128 * 1e-6 + 256 * 1e-7), id="a window"),
        pytest.param(0, "q8_0", 1000 * (128 * 1e-6 + 136 * 1e-7), id="a smaller cache"),
    ],
)
def test_a_token_attends_to_the_earlier_ones(window: int, kv_type: str, seconds: float) -> None:
    calibration = Calibration(cpu=device_speed(attention_seconds=1e-6, cache_byte_seconds=1e-7))
    shape, settings = model(replace(DENSE, window=window)), PlanSettings(context=1024, kv_type=kv_type)

    added = decode_seconds(shape, settings, calibration, 1000) - decode_seconds(shape, settings, calibration, 0)

    assert added == pytest.approx(seconds)


def test_a_recurrent_state_is_read_and_written_at_any_depth() -> None:
    calibration = Calibration(cpu=device_speed(cache_byte_seconds=1e-9))
    shape = model(LayerShape(attention=(("Q4_0", GB),), state_bytes=10**6), output=0)

    assert decode_seconds(shape, ONE, calibration, 500) == pytest.approx(0.1 + 0.002)


def test_all_tokens_of_a_prompt_need_all_but_the_end_of_the_last_layer() -> None:
    # Layers 1 and 2 whole, of layer 3 the attention; the output once for each batch.
    assert prompt_seconds(model(DENSE, DENSE, DENSE), ONE, CPU, tokens=512) == pytest.approx(512 * 5e-3 + 2 * 0.01)


def test_experts_of_a_prompt_are_slower_and_come_back_once_a_batch() -> None:
    calibration = Calibration(cpu=device_speed(), gpu=device_speed(100 * GB, visit_seconds=0.5))
    shape = model(MIXED, MIXED, output=0, experts=8, used=2)

    seconds = prompt_seconds(shape, replace(GPU, cpu_moe=1), calibration, tokens=256)

    assert seconds == pytest.approx(256 * (2 * 1e-4 + 0.25 / 50) + 0.5 + 0.5)


def test_norms_of_a_prompt_take_their_time() -> None:
    calibration = Calibration(cpu=device_speed(prompt_layer_seconds=1e-6))
    shape = model(DENSE, DENSE, output=0)

    added = prompt_seconds(shape, ONE, calibration, tokens=10) - prompt_seconds(shape, ONE, CPU, tokens=10)

    assert added == pytest.approx(10 * 1.5 * 1000 * 1e-6)


@pytest.mark.parametrize(
    ("cached", "tokens", "window", "earlier"),
    [
        pytest.param(0, 100, 0, 50, id="all"),
        pytest.param(100, 100, 0, 150, id="after others"),
        pytest.param(0, 100, 1000, 50, id="a large window"),
        pytest.param(0, 100, 50, 0.5 * 25 + 0.5 * 50, id="a window that fills"),
        pytest.param(100, 100, 50, 50, id="a full window"),
    ],
)
def test_a_prompt_attends_to_the_earlier_tokens(cached: int, tokens: int, window: int, earlier: float) -> None:
    calibration = Calibration(cpu=device_speed(prompt_attention_seconds=1e-6))
    shape = model(replace(DENSE, window=window), output=0)

    seconds = prompt_seconds(shape, ONE, calibration, tokens=tokens, cached=cached)

    assert seconds - prompt_seconds(shape, ONE, CPU, tokens=tokens) == pytest.approx(tokens * earlier * 128 * 1e-6)


def test_a_forecast_has_both_rates() -> None:
    shape = model(DENSE, output=0)

    found = forecast(shape, ONE, CPU)

    assert found is not None
    assert (found.tokens_per_second, found.prompt_tokens_per_second) == pytest.approx((50, 1000))


def test_what_answers_taught_changes_a_forecast() -> None:
    shape = model(DENSE)
    ratios = learned(learned({}, "decode", shape, ONE, 1.2), "prompt", shape, ONE, 1.5)
    before, after = forecast(shape, ONE, CPU), forecast(shape, ONE, replace(CPU, corrections=to_corrections(ratios)))

    assert before is not None
    assert after is not None
    assert after.tokens_per_second == pytest.approx(1.2 * before.tokens_per_second)
    assert after.prompt_tokens_per_second == pytest.approx(1.5 * before.prompt_tokens_per_second)


def test_a_type_that_was_not_measured_has_no_forecast_and_is_named() -> None:
    shape = replace(model(DENSE, LayerShape(experts=(("IQ1_S", GB),))), output=(("TQ2_0", GB),))

    assert forecast(shape, ONE, CPU) is None
    assert missing_types(shape, CPU) == {"IQ1_S", "TQ2_0"}
    assert missing_types(model(DENSE), CPU) == set()
