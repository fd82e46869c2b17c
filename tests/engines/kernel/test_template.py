import datetime as dt
from dataclasses import replace

import pytest

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.messages import Message, to_messages
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.template import CHATML_NOTICE, NO_SYSTEM_NOTICE, ChatTemplate, Rendered
from tests.engines.kernel.asking import ENDLESS, wait_for_limited_work

# Short ones in the style of models in the field.
LLAMA_2 = """\
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}\
{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""
MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + message.content + ' [/INST]' }}
    {%- elif message.role == 'assistant' %}
        {{- message.content + eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported!') }}
    {%- endif %}
{%- endfor %}"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""
QWEN = """\
{%- if tools %}
    {{- '# Tools ' + tools | tojson }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
LLAMA_3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if messages[0].role == 'system' %}{{- messages[0].content }}{% endif %}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
SMOL = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
TALK = (
    *to_messages("Why?", system="Be brief."),
    Message.from_text("assistant", "So."),
    Message.from_text("user", "Really? {{ 1 + 1 }}"),
)


def render(source: str | None, *messages: Message) -> Rendered:
    """What SOURCE makes of MESSAGES, without where they are: test_message_spans.py."""
    rendered = ChatTemplate(source, bos="<s>", eos="</s>").render(messages or to_messages("Why?"))
    return replace(rendered, spans=())


def evaluate(expression: str) -> str:
    """What EXPRESSION gives in a template that otherwise writes what it should."""
    return render(expression + "{% for m in messages %}{{ m.content }}{% endfor %}").text.removesuffix("Why?")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(
            LLAMA_2,
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhy? [/INST] So. </s><s>[INST] Really? {{ 1 + 1 }} [/INST]",
            id="llama 2",
        ),
        pytest.param(
            QWEN,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
            "<|im_start|>assistant\nSo.<|im_end|>\n<|im_start|>user\nReally? {{ 1 + 1 }}<|im_end|>\n"
            "<|im_start|>assistant\n",
            id="qwen",
        ),
        pytest.param(
            LLAMA_3,
            "<s><|start_header_id|>system<|end_header_id|>\n\n"
            f"Today Date: {dt.datetime.now().astimezone():%d %b %Y}\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nSo.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nReally? {{ 1 + 1 }}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            id="llama 3",
        ),
        pytest.param(SMOL, "Be brief.Why?So.Really? {{ 1 + 1 }}", id="generation tag"),
    ],
)
def test_a_conversation_is_written_as_the_template_says(source: str, text: str) -> None:
    assert render(source, *TALK) == Rendered(text=text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param(
            MISTRAL,
            "<s>[INST] Be brief.\n\nWhy? [/INST]So.</s>[INST] Really? {{ 1 + 1 }} [/INST]",
            id="mistral",
        ),
        pytest.param(
            GEMMA,
            "<s><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n<start_of_turn>model\nSo.<end_of_turn>\n"
            "<start_of_turn>user\nReally? {{ 1 + 1 }}<end_of_turn>\n<start_of_turn>model\n",
            id="gemma",
        ),
    ],
)
def test_without_a_system_role_its_prompt_goes_before_the_first_message(source: str, text: str) -> None:
    assert render(source, *TALK) == Rendered(text=text, notices=(NO_SYSTEM_NOTICE,))


def test_a_model_without_a_template_gets_chatml_and_says_so() -> None:
    assert render(None, *to_messages("Why?", system="Be brief.")) == Rendered(
        text="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        notices=(CHATML_NOTICE,),
    )


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        pytest.param("['<é>', 'a&b'] | tojson", '["<é>", "a&b"]', id="no escapes"),
        pytest.param("'é' | tojson(true)", '"\\u00e9"', id="ascii first, as in transformers"),
        pytest.param("[1] | tojson(indent=2)", "[\n  1\n]", id="indent"),
        pytest.param("{'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true)", '{"a":2,"b":1}', id="compact"),
        pytest.param("messages[0].content | upper", "WHY?", id="filter"),
        pytest.param("unknown is defined", "False", id="undefined"),
        pytest.param("'-' * 3 ~ 2 * 3 ~ 2 ** 3 ~ 2.0 * 2 ~ [1] * 2", "---684.0[1, 1]", id="products"),
        pytest.param("[1, 2][5] is defined", "False", id="past the end"),
        pytest.param("date_string == strftime_now('%d %b %Y')", "True", id="date, as llama.cpp gives it"),
        pytest.param("datetime == strftime_now('%b %d %Y')", "True", id="datetime, as llama.cpp gives it"),
    ],
)
def test_expressions_of_the_field_work(expression: str, text: str) -> None:
    assert evaluate("{{ " + expression + " }}") == text


NASTY = [
    pytest.param("{{ ''.__class__.__mro__ }}", id="mro"),
    pytest.param("{{ ''['__class__']['__mro__'] }}", id="mro by item"),
    pytest.param("{{ ''|attr('__class__')|attr('__mro__') }}", id="mro by filter"),
    pytest.param("{{ ''|attr('__cla' ~ 'ss__') }}", id="mro by a made up name"),
    pytest.param("{{ '{0.__class__.__mro__}'.format('') }}", id="mro by format"),
    pytest.param("{{ '%s'.__mod__.__self__.__class__ }}", id="mro by method"),
    pytest.param("{{ ''.format_map({'a': ''}).__class__ }}", id="mro by format_map"),
    pytest.param("{{ ('{a.__class__}'|attr('format'))(a='') }}", id="CVE-2024-56326"),
    pytest.param("{{ ['{0.__class__}']|map('format', '')|list }}", id="format by map"),
    pytest.param("{{ ('{0.__class__.__mro__}'|attr('format')|string) }}", id="CVE-2025-27516"),
    pytest.param("{% set x = cycler.__init__.__globals__ %}{{ x.os.system('true') }}", id="cycler"),
    pytest.param("{{ joiner.__init__.__globals__ }}", id="joiner"),
    pytest.param("{{ lipsum.__globals__['os'] }}", id="lipsum"),
    pytest.param("{{ namespace.__init__.__globals__ }}", id="namespace"),
    pytest.param("{{ raise_exception.__globals__ }}", id="our function"),
    pytest.param("{{ strftime_now.__globals__['dt'] }}", id="our module"),
    pytest.param("{{ self.__init__.__globals__ }}", id="self"),
    pytest.param("{{ self._TemplateReference__context.eval_ctx.environment }}", id="context"),
    pytest.param("{{ messages.append.__self__.__class__ }}", id="list"),
    pytest.param("{{ messages[0].update({'role': 'x'}) }}", id="change a message"),
    pytest.param("{{ messages.clear() }}", id="change the messages"),
    pytest.param("{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}", id="map"),
    pytest.param("{{ (messages|groupby('__class__')|list)[0][0].__mro__ }}", id="groupby"),
    pytest.param("{% include '/etc/passwd' %}", id="include"),
    pytest.param("{% import 'os' as os %}", id="import"),
    pytest.param("{% extends '/etc/passwd' %}", id="extends"),
]


@pytest.mark.parametrize("source", NASTY)
def test_a_nasty_template_gets_nowhere(source: str) -> None:
    messages = to_messages("Why?")
    try:
        text = ChatTemplate(source).render(messages).text
    except BadTemplate:
        text = ""

    assert [word for word in ("<class", "<module", "mappingproxy", "root:") if word in text] == []
    assert messages == to_messages("Why?")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        pytest.param("{{ raise_exception('No way.') }}", "TemplateError: No way.", id="raised by the template"),
        pytest.param("{% if %}", "TemplateSyntaxError", id="syntax"),
        pytest.param("{% wish %}", "TemplateSyntaxError", id="unknown tag"),
        pytest.param("{% generation %}", "TemplateSyntaxError", id="no end"),
        pytest.param("{{ nobody.home }}", "UndefinedError", id="undefined"),
        pytest.param("{{ 1 / 0 }}", "ZeroDivisionError", id="arithmetic"),
        pytest.param("{{ 1 + 'a' }}", "TypeError", id="type"),
        pytest.param("{{ {}['a'].b }}", "UndefinedError", id="key"),
        pytest.param("{{ ''.index('a') }}", "ValueError", id="value"),
        pytest.param("{{ ''.encode('nope') }}", "LookupError", id="lookup"),
        pytest.param("{{ cycler() }}", "RuntimeError", id="runtime"),
        pytest.param("{{ range(10**9) }}", "OverflowError", id="huge range"),
        pytest.param("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError", id="recursion"),
        pytest.param("{{ " + "(" * 5000 + ")" * 5000 + " }}", "RecursionError", id="deep nesting"),
        pytest.param("{% for a in b %}" * 30 + "{% endfor %}" * 30, "SyntaxError", id="many loops"),
        pytest.param("{{ messages.pop() }}", "SecurityError", id="immutable"),
        pytest.param("{{ 'a' * 10**9 }}", "SecurityError: the result of * is too large", id="huge text"),
        pytest.param("{{ 10**9 * [1] }}", "SecurityError", id="huge list"),
        pytest.param("{{ 10**(10**10) }}", "SecurityError: the result of ** is too large", id="huge power"),
        pytest.param(
            "{% set n = namespace(x=3) %}{% for _ in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
            "SecurityError",
            id="huge product",
        ),
        *(
            pytest.param(source, "SecurityError: the result is too wide", id=source)
            for source in (
                "{{ '%1000000000d' % 1 }}",
                "{{ '%*d' % (10**9, 1) }}",
                "{{ '%(a)-09999999s' % {'a': 1} }}",
                "{{ '%.1000000000f' % 1 }}",
                "{{ '{:>1000000000}'.format(1) }}",
                "{{ '{a:9999999}'.format_map({'a': 1}) }}",
                "{{ 'a'.ljust(10**9) }}",
                "{{ messages[0].content.center(10**9) }}",
                "{{ '7'.zfill(10**9) }}",
                "{{ 'a' | center(10**9) }}",
                "{{ 'a\\na' | indent(width=10**9) }}",
                "{{ '%1000000000d' | format(1) }}",
                "{{ [1] | batch(10**9, 0) | list }}",
                "{{ [1] | slice(10**9) | list }}",
                "{{ 1.5 | round(10**9, 'ceil') }}",
            )
        ),
        pytest.param("{{ strftime_now('\\ud800') }}", "UnicodeEncodeError", id="lone surrogate"),
    ],
)
def test_a_template_that_fails_says_how(source: str, reason: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        render(source)

    assert caught.value.message.startswith(f"The model's chat template failed: {reason}")
    assert "--raw" in caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(ENDLESS, id="loops"),
        pytest.param("{% for a in range(99999) %}{% continue %}{% endfor %}" * 200, id="loops after each other"),
        pytest.param(
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", id="macros"
        ),
        pytest.param("{{ ([range(99999)] * 99999) | map('sum') | sum }}", id="filters"),
        pytest.param("{{ ([0] * 1000000) | select('in', [1] * 1000000) | list }}", id="tests"),
        pytest.param("{{ [0, 0] }}" * 500_000, id="length"),
    ],
)
def test_a_template_without_an_end_is_ended(source: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        ChatTemplate(source, seconds=0.1).render(to_messages("Why?", system="Be brief."))

    wait_for_limited_work()

    assert caught.value.message == "The model's chat template did not come to an end within 0.1 seconds."
    assert "--raw" in caught.value.hint


def test_a_stop_ends_a_template() -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        ChatTemplate(ENDLESS).render(to_messages("Why?"), stop=stop)


def test_with_a_system_prompt_the_first_error_is_told_when_merging_does_not_help() -> None:
    with pytest.raises(BadTemplate, match="Only ours"):
        render("{{ raise_exception('Only ours') }}", *to_messages("Why?", system="Be brief."))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param("{{ 'at %s and %5.1f, **all** 12345678' % (1700000000, 2.5) }}", None, id="percent"),
        pytest.param("{{ 7 % 4 }}", "3", id="remainder"),
        pytest.param(
            "{{ '{} is 5551234567: {:>3}'.format(1700000000, 1) }}", "1700000000 is 5551234567:   1", id="format"
        ),
        pytest.param("{{ 'a'.ljust(3) }}b", "a  b", id="padding"),
        pytest.param("{{ 'a1700000000'.replace('a', 'b') }}", "b1700000000", id="another method"),
        pytest.param("{{ '%1234567'.strip() }}", "%1234567", id="a pattern that is none"),
        pytest.param("{{ '%s' | format(1700000000) }}", "1700000000", id="a large number"),
        pytest.param("{{ 'a' | center(3) }}", " a ", id="filter"),
        pytest.param("{{ '%s, %s' | format(1, 'b') }}", "1, b", id="filter with a pattern"),
        pytest.param("{{ 'a\nb' | indent(2) }}", "a\n  b", id="indent"),
    ],
)
def test_usual_widths_are_allowed(source: str, text: str | None) -> None:
    expected = text or "at 1700000000 and   2.5, **all** 12345678"

    assert evaluate(source) == expected
