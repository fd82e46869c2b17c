"""The text that the bundled model is trained on."""

import random
from dataclasses import replace

import pytest

pytest.importorskip("tomllib", reason="the programs that make the model need Python 3.11")

from tools.train_demo_model import tables
from tools.train_demo_model.conversation import WIDER, conversation
from tools.train_demo_model.knowledge import FACTS, question
from tools.train_demo_model.smalltalk import REFUSED
from tools.train_demo_model.words import seeded, worded


@pytest.mark.parametrize(
    ("text", "wordings"),
    [
        pytest.param("Why?", {"Why?"}, id="one wording"),
        pytest.param(
            "<How/Why> is <it/this>?", {"How is it?", "How is this?", "Why is it?", "Why is this?"}, id="many"
        ),
        pytest.param("Load it <now/>.", {"Load it now.", "Load it."}, id="a word less before a full stop"),
        pytest.param("So <is/> {w} <?/, eh?>", {"So is {w}?", "So {w}?", "So is {w}, eh?", "So {w}, eh?"}, id="ends"),
        pytest.param("open x.gguf or .gguf", {"open x.gguf or .gguf"}, id="a full stop that begins a word"),
    ],
)
def test_a_text_stands_for_all_its_wordings(text: str, wordings: set[str]) -> None:
    rng = seeded(1)

    assert {worded(rng, [text]) for _ in range(100)} == wordings


def test_every_fact_is_asked_for_in_words_alone() -> None:
    rng = seeded(2)

    asked = [question(rng, fact) for fact in FACTS for _ in range(200)]

    assert [text for text in asked if "<" in text or ">" in text or "  " in text] == []


def test_every_refused_request_can_be_filled_in() -> None:
    rng = seeded(3)
    filling = dict.fromkeys("CTwvacdnjy", "x")

    asked = [worded(rng, [text]).format(**filling) for text in REFUSED for _ in range(50)]

    assert [text for text in asked if "<" in text or "{" in text] == []


def labelled(rng: random.Random) -> tables.Table:
    index, labels = tables.new_index(rng, 2)
    return tables.Table(names=["a", "b"], rows=[["1", "2"], ["3", "4"]], count=2, index=index, labels=labels)


def test_an_index_is_shown_and_not_counted_as_a_column() -> None:
    rng = seeded(4)

    for _ in range(50):
        table = labelled(rng)
        assert table.lines() == [[table.index, "a", "b"], [table.labels[0], "1", "2"], [table.labels[1], "3", "4"]]
        assert tables.summary(table) == "The table has 2 rows and the columns a and b."
        assert table.header() == "DataFrame, 2 rows × 2 columns, shape (2, 2):"


def test_without_its_header_a_table_shows_no_name_of_an_index() -> None:
    rng = seeded(5)
    table = replace(labelled(rng), index="key")

    for _ in range(50):
        _, text = tables.shown(rng, table)
        assert "DataFrame" in text or "key" not in text


def test_conversations_alternate_and_end_with_an_answer() -> None:
    rng = seeded(6)

    for _ in range(200):
        roles = [message["role"] for message in conversation(rng, WIDER) if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
