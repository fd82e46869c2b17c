import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tools.bench.decode import play
from tools.bench.decoder import decoder
from tools.bench.pieces import Pieces
from tools.bench.result import Row, Section, at_least, at_most, percentile, ratio_row, to_json, to_markdown
from tools.bench.server import LlamaServer, ServerFailed
from tools.bench.subject import demo_subject
from tools.bench.traffic import busiest_second
from tools.bench.vocabulary import SIZE, vocabulary, words
from tools.bench.worker import BARE, COMPLETE, RAW_SOCKET, SERVED, Worker, WorkerFailed


def test_contenders_in_their_processes_write_the_same_answer() -> None:
    subject = demo_subject(rounds=1)
    # One thread: two wait for each other, which takes minutes where other tests run at the same time.
    setup = replace(subject.setup, threads=1)

    with closing(Worker(BARE, setup)) as bare, closing(Worker(COMPLETE, setup)) as complete:
        turns = play({BARE: bare, COMPLETE: complete}, subject.asks[-1:], 1, lambda _: None)

    (reference,), (ours,) = turns[BARE], turns[COMPLETE]
    assert ours.samples[0].text == reference.samples[0].text
    assert ours.samples[0].tokens == reference.samples[0].tokens > 0
    assert min(ours.rate, reference.rate) > 0


def test_our_client_and_a_raw_socket_get_the_same_answer() -> None:
    subject = demo_subject(rounds=1)
    ask = replace(subject.asks[0], max_tokens=40)

    with LlamaServer(subject.setup.path, "--threads", "1") as server:
        setup = replace(subject.setup, reference=server.url)
        with closing(Worker(RAW_SOCKET, setup)) as raw, closing(Worker(SERVED, setup)) as served:
            turns = play({RAW_SOCKET: raw, SERVED: served}, [ask], 2, lambda _: None)
        free_at = server.free_at()

    for theirs, ours in zip(turns[RAW_SOCKET], turns[SERVED], strict=True):
        reference, sample = theirs.samples[0], ours.samples[0]
        assert sample.text == reference.text
        assert sample.tokens == reference.tokens == ask.max_tokens
        assert sample.prompt_tokens == reference.prompt_tokens
        assert min(theirs.rate, ours.rate, sample.server_seconds or 0, reference.server_seconds or 0) > 0
    assert free_at <= time.perf_counter()


def test_a_server_that_does_not_start_is_told_of(tmp_path: Path) -> None:
    model = tmp_path / "no-model.gguf"
    model.write_bytes(b"GGUF")

    with pytest.raises(ServerFailed, match="llama-server did not start"), LlamaServer(model):
        pass


def test_pieces_of_an_answer_may_be_cut_anywhere() -> None:
    stream = (
        b'22\r\ndata: {"delta":{"role":"assistant","content":null}}\n\n\r\n'
        b'22\r\ndata: {"delta":{"content":"Once \\"upon"}}\n\n\r\n22\r\ndata: {"delta":{"content":" a time"}}\n\n\r\n'
        b'22\r\ndata: {"timings":{"cache_n":4,"prompt_n":3,"predicted_n":9,"predicted_ms":250.0}}\n\n\r\n0\r\n\r\n'
    )
    pieces = Pieces()

    for position in range(len(stream)):
        pieces.take(stream[position : position + 1])
    sample = pieces.to_sample()

    assert sample.text == 'Once "upon a time'
    assert (sample.tokens, sample.steps, sample.prompt_tokens, sample.server_seconds) == (9, 8, 7, 0.25)
    assert 0 < sample.decode_seconds < sample.wall_seconds


def test_recorded_streams_are_decoded_whole_and_in_pieces() -> None:
    section = decoder(1, lambda _: None)

    assert [row.ours > 0 for row in section.rows] == [True] * 8


def test_a_contender_that_dies_is_told_of() -> None:
    subject = demo_subject(rounds=1)

    with pytest.raises(WorkerFailed, match="nowhere ended with code 1"):
        Worker("tools.bench.nowhere", subject.setup)


def test_a_ratio_is_the_median_over_the_rounds() -> None:
    row = ratio_row("speed", "tok/s", [90, 50, 99], [100, 100, 100], 0.9)

    assert row.ratios == (0.9, 0.5, 0.99)
    assert row.target == at_least(0.9, 0.9)
    assert row.target is not None
    assert row.target.met


def test_tables_say_whether_a_target_was_met() -> None:
    rows = (
        Row(measure="wait", unit="ms", ours=12.34, target=at_most(12.34, 50, "ms")),
        ratio_row("speed", "tok/s", [900], [1000], 0.95),
    )

    text = to_markdown({"machine": "M"}, [Section(title="T", rows=rows, notes=("N.",))])

    assert text == (
        "# Benchmark\n\n- machine: M\n\n## T\n\n"
        "| measure | ours | peer | ratio (min to max) | target | met |\n|---|---:|---:|---:|---|---|\n"
        "| wait | 12.3 ms |  |  | at most 50 ms | yes |\n"
        "| speed | 900 tok/s | 1,000 tok/s | 0.900 (0.900 to 0.900) | at least 0.95 | **no** |\n\n- N.\n"
    )
    document = json.loads(to_json({}, [Section(title="T", rows=rows)]))
    assert document["sections"][0]["rows"][1]["ratios"] == [0.9]


@pytest.mark.parametrize(
    ("percent", "expected"),
    [pytest.param(50, 10, id="half"), pytest.param(95, 19, id="95"), pytest.param(1, 1, id="1")],
)
def test_percentiles_are_values_that_occurred(percent: int, expected: int) -> None:
    assert percentile(range(1, 21), percent) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([0.0, 0.5, 0.9, 1.2], 3, id="sliding"),
        pytest.param([0.0, 1.0, 2.0], 1, id="a second apart"),
    ],
)
def test_the_busiest_second_slides(times: list[float], expected: int) -> None:
    assert busiest_second(times) == expected


def test_the_made_up_vocabulary_has_the_real_size_and_no_token_twice() -> None:
    made = vocabulary()

    assert len(made.tokens) == len(set(made.tokens)) == len(made.types) == SIZE
    assert {f"Ġ{word}" for word in words(50, seed=1).split()} <= set(made.tokens)
