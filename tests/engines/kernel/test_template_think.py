"""The switches by which templates are told whether to reason."""

import pytest

from localllm_magics.core.messages import to_messages
from localllm_magics.engines.kernel.template import ChatTemplate

TURN = "{% for m in messages %}{{ m.content }}{% endfor %}"


def render(switch: str, think: bool | None) -> tuple[str, tuple[str, ...]]:
    """What the template writes beside the question, and what it is said about it."""
    rendered = ChatTemplate(switch + TURN).render(to_messages("Why?"), think=think)
    return rendered.text.removesuffix("Why?"), rendered.notices


@pytest.mark.parametrize(
    ("switch", "texts"),
    [
        pytest.param("{{ enable_thinking }}", ("", "True", "False"), id="most"),
        pytest.param("{% if thinking %}Think.{% endif %}", ("", "Think.", ""), id="Granite 3.3"),
        pytest.param("{% if not reasoning | default(true) %}No.{% endif %}", ("", "", "No."), id="Command A"),
        pytest.param("{{ thinking_mode }}", ("", "enabled", "disabled"), id="MiniMax"),
        pytest.param("{{ thinking_option | default('on') }}", ("on", "on", "off"), id="Ling"),
        pytest.param("{{ thinking_budget | default(-1) }}", ("-1", "-1", "0"), id="Seed-OSS"),
        pytest.param("{{ reasoning_effort | default('medium') }}", ("medium", "medium", "low"), id="gpt-oss"),
        pytest.param("{{ reasoning_strength | default('high') }}", ("high", "high", "low"), id="strength"),
        pytest.param("{% if reasoning_effort in ['low', 'minimal'] %}No.{% endif %}", ("", "", "No."), id="Solar"),
        pytest.param(
            "{% if reasoning_effort is defined and reasoning_effort not in ['high', 'low', 'no_think'] %}"
            "{{ raise_exception('no such effort') }}{% endif %}{{ reasoning_effort | default('no_think') }}",
            ("no_think", "high", "no_think"),
            id="Hunyuan",
        ),
    ],
)
def test_the_switch_of_a_template_is_used_whatever_its_name(switch: str, texts: tuple[str, str, str]) -> None:
    assert tuple(render(switch, think) for think in (None, True, False)) == tuple((text, ()) for text in texts)


@pytest.mark.parametrize("think", [True, False])
def test_a_template_without_a_switch_is_said_to_have_none(*, think: bool) -> None:
    option = "--think" if think else "--no-think"

    assert render("", think) == (
        "",
        (f"This model's chat template has no switch for reasoning, so {option} changed nothing.",),
    )


def test_a_template_that_reads_the_switch_in_the_messages_is_told_with_it() -> None:
    (notice,) = render("{% if '/no_think' in messages[-1].content %}No.{% endif %}", False)[1]

    assert notice.endswith("--no-think changed nothing. It reads /think and /no_think in a message instead.")


def test_a_template_that_has_only_one_way_has_a_switch() -> None:
    assert render("{% if enable_thinking %}{{ raise_exception('cannot') }}{% endif %}No.", False) == ("No.", ())
