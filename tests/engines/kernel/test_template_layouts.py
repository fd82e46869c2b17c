"""Whatever a template expects, all of a conversation is in the prompt, or an error says what is not."""

import pytest

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.messages import Message, Role, to_messages
from localllm_magics.engines.kernel.template import (
    CHANGED_NOTICE,
    CHATML,
    CHATML_NOTICE,
    NO_SYSTEM_NOTICE,
    ChatTemplate,
    Rendered,
)

EACH = "{% for m in messages %}"
PARTS = "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
TALK: tuple[tuple[Role, str], ...] = (
    ("system", "Be brief."),
    ("user", " Why is\n\nit 'so'? "),
    ("assistant", "So."),
    ("user", 'Really "so"?'),
)
LONG = "The quick brown fox jumps over the lazy dog."


def render(source: str, *talk: tuple[Role, str], think: bool | None = None) -> Rendered:
    messages = [Message.from_text(role, text) for role, text in talk or TALK]
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages, think=think)


def messages_in(rendered: Rendered) -> list[str]:
    return [rendered.text[start:end] for start, end in rendered.spans]


WHOLE = [
    pytest.param(EACH + "[{{ m.role }}]{{ m.content }}{% endfor %}", id="text"),
    pytest.param(EACH + "[{{ m.role }}]" + PARTS + "{% endfor %}", id="parts"),
    pytest.param(
        EACH + "[{{ m.role }}]{{ (m.content | selectattr('type', 'equalto', 'text') | first).text }}{% endfor %}",
        id="parts, of which a filter chooses, and text is an error",
    ),
    pytest.param(
        EACH + "{% if m.content is string %}{{ raise_exception('no') }}{% endif %}" + PARTS + "{% endfor %}",
        id="parts, and text is refused",
    ),
    pytest.param(
        EACH + "{% if m.content is not string %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}",
        id="text, and parts are refused",
    ),
    pytest.param(
        EACH + "{% if m.content is string %}{{ m.content }}{% else %}" + PARTS + "{% endif %}{% endfor %}",
        id="both",
    ),
    pytest.param(
        "[SYS]{{ messages[0]['content'][0]['text'] }}[/SYS]{% for m in messages[1:] %}{{ m.content }}{% endfor %}",
        id="parts for the system prompt alone",
    ),
    pytest.param(
        EACH + "{% if m.role == 'assistant' %}{{ m.content }}{% else %}" + PARTS + "{% endif %}{% endfor %}",
        id="parts for all but the answers",
    ),
    pytest.param(
        EACH + "{% if m.role == 'user' %}{{ m.content + '' }}{% else %}{{ m.content[0].text + '' }}{% endif %}"
        "{% endfor %}",
        id="both shapes in one template, and errors for the other",
    ),
    pytest.param(
        "{{ '[SYS]' + messages[0]['content'][0]['text'] + '[/SYS]' }}"
        "{% for m in messages[1:] %}{{ '[INST]' + m['content'] }}{% endfor %}",
        id="parts for the first message, and errors for the other",
    ),
    pytest.param(
        "{% for m in messages[1:] %}{% if loop.last %}{{ messages[0].content }} {% endif %}{{ m.content }}{% endfor %}",
        id="system prompt in the last message",
    ),
    pytest.param(EACH + "{{ m | tojson }}{% endfor %}", id="whole messages as JSON"),
]
FOLDED = [
    pytest.param(EACH + "{% if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}", id="text"),
    pytest.param(
        EACH + "{% if m.role == 'user' %}" + PARTS + "{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}"
        "{% endfor %}",
        id="parts",
    ),
    pytest.param(
        EACH + "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}",
        id="refused",
    ),
    pytest.param(
        "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"
        + EACH
        + PARTS
        + "{% endfor %}",
        id="refused, and parts",
    ),
]


@pytest.mark.parametrize("source", WHOLE)
def test_a_template_gets_contents_in_the_shape_that_it_reads(source: str) -> None:
    rendered = render(source)

    written = [text.replace("\\n", "\n").replace('\\"', '"').strip() for text in messages_in(rendered)]
    assert sorted(written) == sorted(text.strip() for _, text in TALK)
    assert NO_SYSTEM_NOTICE not in rendered.notices
    assert not any(word in rendered.text for word in ("'type'", "\ue000"))


@pytest.mark.parametrize("source", FOLDED)
def test_a_system_prompt_that_is_not_written_goes_before_the_message_behind_it(source: str) -> None:
    rendered = render(source)

    assert f"Be brief.\n\n{TALK[1][1]}" in rendered.text
    assert messages_in(rendered) == [text for _, text in TALK]
    assert rendered.notices == (NO_SYSTEM_NOTICE,)


@pytest.mark.parametrize(
    ("talk", "text"),
    [
        pytest.param([("system", "a"), ("assistant", "b"), ("user", "c")], "U:a A:b U:c ", id="before an answer"),
        pytest.param([("system", "a")], "U:a ", id="alone"),
        pytest.param([("system", "a"), ("system", "b"), ("user", "c")], "U:a\n\nb\n\nc ", id="two"),
        pytest.param(
            [("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d")], "U:a A:b U:c\n\nd ", id="late"
        ),
    ],
)
def test_every_system_prompt_finds_a_place(talk: list[tuple[Role, str]], text: str) -> None:
    source = EACH + "{% if m.role != 'system' %}{{ m.role[0] | upper }}:{{ m.content }} {% endif %}{% endfor %}"

    assert render(source, *talk).text == text


@pytest.mark.parametrize(
    ("source", "which"),
    [
        pytest.param("{% set a = 1 %}", "1 of 4 (system): 'Be brief.'", id="nothing"),
        pytest.param("{{ bos_token }}Why is it 'so'? Be brief. So.", "1 of 4 (system)", id="what it says anyway"),
        pytest.param(EACH + "{{ m.text }}{% endfor %}", "1 of 4 (system)", id="another key"),
        pytest.param("{{ messages[-1].content }}", "1 of 4 (system)", id="one message"),
        pytest.param(
            "{{ messages[0].content }}{{ messages[-1].content }}",
            """2 of 4 (user): "Why is it 'so'?\"""",
            id="no earlier messages",
        ),
        pytest.param(
            EACH + "{% if m.role != 'assistant' %}{{ m.content }}{% endif %}{% endfor %}",
            "3 of 4 (assistant): 'So.'",
            id="no answers",
        ),
    ],
)
def test_a_message_that_is_left_out_is_an_error_that_names_it(source: str, which: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        render(source)

    assert caught.value.message.startswith(f"The model's chat template leaves out message {which}")
    assert "--raw" in caught.value.hint


@pytest.mark.parametrize(
    "expression",
    ["m.content[:20]", "m.content | truncate(20)", "m.content | replace('lazy', '')", "m.content.split('o')[0]"],
)
def test_a_message_that_is_cut_is_an_error(expression: str) -> None:
    with pytest.raises(BadTemplate, match=r"leaves out message 1 of 1 \(user\): 'The quick"):
        render(EACH + "{{ " + expression + " }}{% endfor %}", ("user", LONG))


def test_a_long_message_is_not_shown_whole() -> None:
    with pytest.raises(BadTemplate) as caught:
        render("{{ bos_token }}", ("user", LONG * 1000))

    assert len(caught.value.message) < 150


# Nothing is lost, so it is no error, and nobody could use the model otherwise; but the model reads something else.
@pytest.mark.parametrize(
    ("expression", "text"),
    [
        pytest.param("m.content | upper", "<A> & 'B'\n\"C\"", id="upper"),
        pytest.param("m.content | tojson", '"<a> & \'b\'\\n\\"c\\""', id="JSON"),
        pytest.param("m.content | replace('\n', '<n>') | upper", "<A> & 'B'<N>\"C\"", id="words for line ends"),
        pytest.param("m.content | tojson(true)", '"<a> & \'b\'\\n\\"c\\""', id="JSON in ASCII"),
        pytest.param("m.content | e", "&lt;a&gt; &amp; &#39;b&#39;\n&#34;c&#34;", id="HTML"),
    ],
)
def test_a_template_that_changes_the_text_works_and_says_so(expression: str, text: str) -> None:
    rendered = render(EACH + "{{ " + expression + " }}{% endfor %}", ("user", "<a> & 'b'\n\"c\""))

    assert (rendered.text, rendered.notices) == (text, (CHANGED_NOTICE,))
    assert messages_in(rendered) == [text.removeprefix('"').removesuffix('"') if "tojson" in expression else text]


@pytest.mark.parametrize(
    "expression",
    [
        "m.content | trim",
        "m.content.lstrip()",
        "m.content.split() | join(' ')",
        "m.content | indent(2)",
        "m.content | wordwrap(5)",
    ],
)
def test_white_space_may_change(expression: str) -> None:
    rendered = render(EACH + "[{{ " + expression + " }}]{% endfor %}")

    assert ["".join(text.split()) for text in messages_in(rendered)] == ["".join(text.split()) for _, text in TALK]
    assert rendered.notices == ()


@pytest.mark.parametrize("end", ["</think>", "[/THINK]", "<|END_THINKING|>", "<channel|>", "</seed:think>"])
def test_the_reasoning_of_earlier_answers_may_be_left_out(end: str) -> None:
    source = (
        EACH + "{{ m.content.split('" + end + "')[-1].strip() if m.role == 'assistant' else m.content }}{% endfor %}"
    )
    talk: list[tuple[Role, str]] = [("user", "One?"), ("assistant", f"hm{end}\n\nYes."), ("user", "Two?")]

    rendered = render(source, *talk)

    assert (rendered.text, messages_in(rendered)) == ("One?Yes.Two?", ["One?", "Yes.", "Two?"])
    assert rendered.notices == ()


def test_the_switch_for_reasoning_in_a_message_may_be_left_out() -> None:
    source = EACH + "{{ m.content.replace('/no_think', '').strip() }}{% endfor %}"

    assert render(source, ("user", "Why?\n/no_think")) == Rendered(text="Why?", spans=((0, 4),))


@pytest.mark.parametrize(
    ("source", "notice"),
    [
        pytest.param("llama3", "This model's chat template is only a name, 'llama3', so ChatML was used.", id="name"),
        pytest.param(" \n", CHATML_NOTICE, id="blank"),
    ],
)
def test_a_template_that_is_none_is_not_used(source: str, notice: str) -> None:
    rendered = render(source)

    assert (rendered.text, rendered.notices) == (render(CHATML).text, (notice,))


def test_a_short_question_that_the_template_has_in_its_own_text_is_not_mistaken_for_it() -> None:
    with pytest.raises(BadTemplate, match="leaves out message 1 of 1"):
        ChatTemplate("This is all.{{ bos_token }}").render(to_messages("is"))


def test_the_layout_of_another_conversation_is_found_anew() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m.content[0].text if m.role == 'system' else m.content }}{% endfor %}"
    )

    texts = [template.render(to_messages("Why?", system=system)).text for system in (None, "Be brief.", None)]

    assert texts == ["Why?", "Be brief.Why?", "Why?"]
