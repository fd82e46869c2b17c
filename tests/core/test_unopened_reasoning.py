import pytest

from localllm_magics.core.unopened_reasoning import part


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        pytest.param("Hmm, ok.</think>Paris.", "Hmm, ok.", "Paris.", id="bare"),
        pytest.param("hmm</think>Paris", "hmm", "Paris", id="words"),
        pytest.param("Hmm.\n</think>\n\n**Paris**", "Hmm.\n", "**Paris**", id="lines"),
        pytest.param("Hmm. </think> Paris", "Hmm. ", "Paris", id="behind a sentence"),
        pytest.param("</think>Paris", "", "Paris", id="nothing before"),
        pytest.param("Hmm.[/THINK]Paris", "Hmm.", "Paris", id="Magistral"),
        pytest.param("Hmm.</seed:think>Paris", "Hmm.", "Paris", id="Seed-OSS"),
        pytest.param("`x` is it.\n</think>\n`y`", "`x` is it.\n", "`y`", id="code on both sides"),
        pytest.param("Hmm.</think>Say </think>.", "Hmm.", "Say </think>.", id="another one"),
    ],
)
def test_text_before_an_end_mark_is_reasoning(text: str, reasoning: str, answer: str) -> None:
    assert part(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Paris.", id="no mark"),
        pytest.param("", id="nothing"),
        pytest.param("Write <think> before and </think> behind it.", id="both marks"),
        pytest.param("The mark </think> ends it.", id="in a sentence"),
        pytest.param("It ends with `</think>` in Qwen3.", id="in code"),
        pytest.param('It ends with "</think>" in Qwen3.', id="in quotes"),
        pytest.param("```\nhmm\n</think>\nParis\n```", id="in a fence"),
        pytest.param("1. </think> is the end", id="in a list"),
        pytest.param("It is </think>", id="at the end"),
        pytest.param("It is written\n</think>.", id="before a full stop"),
        pytest.param("Hmm.\n</think>\n", id="no answer"),
    ],
)
def test_a_mark_that_an_answer_speaks_about_is_text(text: str) -> None:
    assert part(text) == ("", text)


def test_a_long_text_takes_no_time() -> None:
    text = "a " * 500_000 + "</think>" + " " * 1_000_000

    assert part(text) == ("", text)
