import pytest

from localllm_magics.engines.reasoning_sections import THINK, opened_section, sections_of, well_known_sections


@pytest.mark.parametrize(
    ("template", "pair"),
    [
        pytest.param("{{ '[THINK]' + text + '[/THINK]' }}", ("[THINK]", "[/THINK]"), id="brackets"),
        pytest.param("<seed:think> </seed:think>", ("<seed:think>", "</seed:think>"), id="namespace"),
        pytest.param("◁think▷ ◁/think▷", ("◁think▷", "◁/think▷"), id="triangles"),
        pytest.param("<|thinking|> <|/thinking|>", ("<|thinking|>", "<|/thinking|>"), id="bars"),
        pytest.param(
            "<|START_THINKING|><|END_THINKING|>", ("<|START_THINKING|>", "<|END_THINKING|>"), id="start and end"
        ),
        pytest.param(
            "<|begin_of_thought|> <|end_of_thought|>", ("<|begin_of_thought|>", "<|end_of_thought|>"), id="begin"
        ),
        pytest.param("<reasoning> </reasoning>", ("<reasoning>", "</reasoning>"), id="reasoning"),
        pytest.param("<|inner_prefix|> <|inner_suffix|>", ("<|inner_prefix|>", "<|inner_suffix|>"), id="table"),
    ],
)
def test_marks_in_a_template_are_found(template: str, pair: tuple[str, str]) -> None:
    assert pair in [(section.start, section.end) for section in sections_of(template)]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("", id="nothing"),
        pytest.param("<|think|> once", id="no end"),
        pytest.param("{{ message['thinking'] }} {% if x[thinking] %}", id="code"),
        pytest.param("<|channel|> <|message|>", id="some marks of a family"),
        pytest.param("<" + "a" * 100_000 + "think>", id="too long"),
    ],
)
def test_other_templates_have_the_common_tags_only(template: str) -> None:
    assert sections_of(template) == (THINK,)


@pytest.mark.parametrize(
    ("prompt", "start"),
    [
        pytest.param("Why? <think>\n", "<think>", id="tag"),
        pytest.param("Why? <|channel>thought\n", "<|channel>thought", id="mark of the table"),
        pytest.param("Why? <think:opensource>", "<think:opensource>", id="unknown mark"),
        pytest.param("<|START_THINKING|><|END_THINKING|>", None, id="closed"),
        pytest.param("Why? <|channel|>", None, id="header"),
        pytest.param("Why?", None, id="no mark"),
    ],
)
def test_the_end_of_a_prompt_tells_the_section_that_it_opened(prompt: str, start: str | None) -> None:
    section = opened_section(prompt, well_known_sections())

    assert (section and section.start) == start
