from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.engines.planner.compute import compute_bytes
from tests.engines.planner.shapes import DENSE, EXPERTS, LAYER, MB, RECURRENT

ROWS = 256 * 4
"""Bytes of one element for each token of a batch."""
SETTINGS = PlanSettings(context=4096)
LOGITS = 4 * 32_000
MASK = 256 * (32 + 2 * 4096)
EMBEDDINGS = ROWS * 1024
FEED_FORWARD = ROWS * (3 * 4096 + 4 * 1024)
HOST, FULL = [range(11)], [range(0), range(11)]


@pytest.mark.parametrize(
    ("shape", "parts", "expected"),
    [
        pytest.param(DENSE, HOST, [MASK + FEED_FORWARD], id="all on the host"),
        pytest.param(DENSE, FULL, [MASK + 2 * EMBEDDINGS, MASK + FEED_FORWARD - EMBEDDINGS], id="all on a device"),
        pytest.param(
            DENSE,
            [range(5), range(5, 11)],
            [MASK + FEED_FORWARD, MASK + FEED_FORWARD - 2 * EMBEDDINGS],
            id="half on a device",
        ),
        pytest.param(
            DENSE, [range(10), range(10, 11)], [MASK + FEED_FORWARD, LOGITS + 8 * 1024], id="the output on a device"
        ),
        pytest.param(
            DENSE,
            [range(9), range(9, 11)],
            [MASK + FEED_FORWARD, MASK + ROWS * 5 * 1024],
            id="the last layer computes one token",
        ),
        pytest.param(
            EXPERTS, FULL, [MASK + 2 * EMBEDDINGS, MASK + ROWS * (3 * 4096 + 4 * 1024)], id="experts on a device"
        ),
        pytest.param(RECURRENT, HOST, [ROWS // 4 * 32 + ROWS * (10_240 + 3072) + 400_000], id="recurrent"),
    ],
)
def test_buffers_are_as_large_as_the_largest_part_of_a_layer(
    shape: ModelShape, parts: list[range], expected: list[int]
) -> None:
    found = compute_bytes(shape, SETTINGS, parts)

    assert [found[0] - LOGITS, *found[1:]] == expected


def test_a_device_whose_experts_are_elsewhere_sums_their_results() -> None:
    host, device = compute_bytes(EXPERTS, replace(SETTINGS, cpu_moe=10), FULL)

    assert host - LOGITS == MASK + FEED_FORWARD
    assert device == MASK + ROWS * (4 * 1024 + 2 * 1024)


@pytest.mark.parametrize(
    ("shape", "parts", "cpu_moe", "largest"),
    [
        pytest.param(DENSE, [range(5), range(5, 11)], 0, 30 * MB, id="a matrix of a layer"),
        pytest.param(EXPERTS, FULL, 3, 300 * MB, id="a matrix of experts"),
        pytest.param(RECURRENT, [range(10), range(10, 11)], 0, 400_000, id="a state"),
    ],
)
def test_a_device_computes_with_weights_of_the_host_where_a_batch_is_large(
    shape: ModelShape, parts: list[range], cpu_moe: int, largest: int
) -> None:
    large = replace(SETTINGS, cpu_moe=cpu_moe)
    small = replace(large, batch=16)
    host, alone = compute_bytes(shape, large, parts)

    found = compute_bytes(shape, large, parts, borrower=1)

    assert found == [host, host - LOGITS + largest]
    assert found[1] > alone
    assert compute_bytes(shape, small, parts, borrower=1) == compute_bytes(shape, small, parts)


def test_nothing_is_borrowed_from_a_host_without_layers() -> None:
    assert compute_bytes(DENSE, SETTINGS, FULL, borrower=1) == compute_bytes(DENSE, SETTINGS, FULL)


def test_without_flash_attention_the_scores_of_all_heads_are_stored() -> None:
    [host] = compute_bytes(DENSE, replace(SETTINGS, flash_attention=False), HOST)

    inputs = 256 * (32 + 4 * 4096 + 8 * 256)
    assert host - LOGITS == inputs + ROWS * (8 * 4096 + 5 * 1024)


def test_without_flash_attention_a_value_that_the_key_holds_is_copied() -> None:
    latent = replace(DENSE, kinds=(replace(LAYER, value_width=0),))

    [host] = compute_bytes(latent, replace(SETTINGS, flash_attention=False), HOST)

    assert host - LOGITS == 256 * (32 + 4 * 4096) + ROWS * (8 * 4096 + 5 * 1024) + 4096 * 2 * 256


def test_each_size_of_cache_has_a_mask() -> None:
    both = replace(DENSE, kinds=(LAYER, replace(LAYER, window=256)), order=(0, 1) * 5)

    [host] = compute_bytes(both, SETTINGS, HOST)

    assert host - LOGITS == MASK + 256 * 2 * 512 + FEED_FORWARD


@pytest.mark.parametrize(
    ("shape", "elements"),
    [
        pytest.param(replace(DENSE, architecture="qwen35"), 2, id="dense"),
        pytest.param(replace(EXPERTS, architecture="qwen3next"), 3, id="with experts"),
        pytest.param(replace(EXPERTS, architecture="gpt-oss"), 4, id="with experts that are summed late"),
        pytest.param(RECURRENT, 2, id="recurrent"),
    ],
)
def test_some_architectures_compute_all_tokens_to_the_end(shape: ModelShape, elements: int) -> None:
    _, device = compute_bytes(shape, SETTINGS, [range(10), range(10, 11)])

    assert device == 4 * (32_000 + (2 + shape.experts_used + 256 * elements) * 1024)


def test_several_devices_with_all_layers_work_on_several_batches() -> None:
    parts = [range(0), range(6), range(6, 11)]
    host, first, second = compute_bytes(DENSE, SETTINGS, parts)

    assert host - LOGITS == 4 * MASK + 5 * EMBEDDINGS
    assert first == 4 * MASK + FEED_FORWARD + 3 * EMBEDDINGS
    assert second == 4 * MASK + FEED_FORWARD + 7 * EMBEDDINGS


def test_a_device_without_layers_needs_nothing() -> None:
    assert compute_bytes(RECURRENT, SETTINGS, [range(0), range(11), range(11, 11)])[2] == 0


def test_devices_pass_on_more_of_a_recurrent_model() -> None:
    _, alone, _ = compute_bytes(RECURRENT, SETTINGS, [range(0), range(11), range(11, 11)])
    _, first, _ = compute_bytes(RECURRENT, SETTINGS, [range(0), range(6), range(6, 11)])

    assert first - alone == 8 * EMBEDDINGS


def test_overrides_end_the_work_on_several_batches() -> None:
    parts = [range(0), range(6), range(6, 11)]

    host, _, _ = compute_bytes(EXPERTS, replace(SETTINGS, overrides=("attn_q",)), parts)

    assert host - LOGITS == MASK + 2 * EMBEDDINGS
