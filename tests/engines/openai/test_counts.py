"""What is counted and timed of an answer, by its server or here."""

import pytest

from localllm_magics.core.events import TextDelta
from localllm_magics.core.generation import Counts
from localllm_magics.engines.openai.records import END_OF_STREAM
from localllm_magics.engines.openai.response_parser import OpenAIResponseParser
from localllm_magics.engines.wire.ndjson import Record
from tests.engines.openai.test_response_parser import ASKED, delta, end, read, recorded

USAGE: Record = {"choices": [], "usage": {"prompt_tokens": 1}}


def test_the_times_are_those_of_the_server() -> None:
    parser = OpenAIResponseParser(ASKED)
    read(parser, *recorded("llama-server", "chat", 0))

    assert parser.counts == Counts(
        prompt_tokens=16,
        cached_tokens=0,
        completion_tokens=25,
        prompt_seconds=2.065e-3,
        decode_seconds=10.781e-3,
        timed_tokens=24,
    )


def test_timings_count_tokens_exactly_while_they_come() -> None:
    parser = OpenAIResponseParser(ASKED)

    events = read(parser, *recorded("llama-server", "chat", 3))

    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert [event.tokens for event in deltas] == [1] * len(deltas)
    assert not any(event.estimated for event in deltas)


def test_a_long_answer_counts_as_many_tokens_live_as_the_server_does_at_the_end() -> None:
    parser = OpenAIResponseParser(ASKED)
    chunks = [
        {**delta(content="ab"), "timings": {"predicted_n": 0}},
        {**delta(content="cd"), "timings": {"predicted_n": 3}},
        {**delta(content="e"), "timings": {"predicted_n": 4}},
        {**end(), "timings": {"predicted_n": 5, "prompt_n": 2}},
    ]

    assert read(parser, *chunks) == [TextDelta("ab", 0), TextDelta("cd", 3), TextDelta("e", 1)]
    assert parser.counts.completion_tokens == 5


def test_usage_on_each_chunk_counts_exactly_too() -> None:
    parser = OpenAIResponseParser(ASKED)
    chunks = [
        {**delta(role="assistant", content=""), "usage": {"prompt_tokens": 9, "completion_tokens": 0}},
        {**delta(content="Two at"), "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        {**delta(content=" once"), "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
        {**end(), "usage": {"prompt_tokens": 9, "completion_tokens": 3}},
    ]

    assert read(parser, *chunks) == [TextDelta("Two at", 2), TextDelta(" once", 1)]
    assert parser.counts.completion_tokens == 3


def test_a_count_that_goes_back_takes_nothing_away() -> None:
    parser = OpenAIResponseParser(ASKED)
    chunks = [{**delta(content="a"), "timings": {"predicted_n": number}} for number in (5, 2, 6)]

    events = read(parser, *chunks)

    assert [event.tokens for event in events if isinstance(event, TextDelta)] == [5, 0, 1]


class Clock:
    """Stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read_at(usage: object, *records: tuple[float, Record]) -> Counts:
    """The counts of RECORDS that came at their seconds, and USAGE with the end."""
    clock = Clock()
    parser = OpenAIResponseParser(ASKED, clock=clock)
    for clock.now, record in records:
        read(parser, record)
    read(parser, end(), {"choices": [], "usage": usage}, END_OF_STREAM)
    return parser.counts


def test_a_server_without_times_is_timed_by_its_pieces() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 12}
    pieces = [(float(when), delta(content="x")) for when in (1, 2, 3, 9)]

    assert read_at(usage, *pieces) == Counts(prompt_tokens=9, completion_tokens=12, decode_seconds=2.0, timed_tokens=6)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([(1.0, delta(content="all of it"))], id="one piece"),
        pytest.param([(1.0, delta(content="x"))] * 50, id="one read"),
    ],
)
def test_an_answer_that_comes_at_once_has_no_rate(records: list[tuple[float, Record]]) -> None:
    counts = read_at({"completion_tokens": 50}, *records)

    assert counts == Counts(completion_tokens=50, prompt_seconds=0.0, decode_seconds=0.0, timed_tokens=0)


def test_usage_of_zeros_is_none() -> None:
    counts = read_at({"prompt_tokens": 0, "completion_tokens": 0}, (1.0, delta(content="x")))

    assert (counts.prompt_tokens, counts.completion_tokens) == (None, None)


@pytest.mark.parametrize(
    ("chunks", "has_counts"),
    [
        pytest.param([USAGE], True, id="alone"),
        pytest.param([end(), USAGE], True, id="after the end"),
        pytest.param([USAGE, end()], False, id="before the last text"),
        pytest.param([{**end(), "usage": {"prompt_tokens": 1}}], False, id="with the end"),
        pytest.param([end(), {"choices": [], "usage": None}], False, id="no counts"),
    ],
)
def test_little_is_waited_for_after_the_counts(chunks: list[Record], has_counts: bool) -> None:
    parser = OpenAIResponseParser(ASKED)

    read(parser, *chunks)

    assert (parser.has_counts, parser.is_complete) == (has_counts, False)
