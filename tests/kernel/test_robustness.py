"""What users, models and front ends do that is not in the tutorial."""

import json
import re
import time
from pathlib import Path

import pytest

from localllm_magics.core.completion import MIME_TYPE
from tests.kernel.notebook_kernel import Kernel, say

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> ![p](http://127.0.0.1:9/x.png) \x1b[31mred\x1b[0m\x07\n"
    "[l](javascript:alert(1)) <iframe src='http://127.0.0.1:9'></iframe>\n\n<b>x</b> \u202eabc"
)
LITERAL = [
    '{"a": {"b": [1, 2]}}',
    "f'{name}' and {os.environ[HOME]} and $HOME and ${x}",
    r"$\frac{1}{2}$ \begin{cases} x \\ y \end{cases}",
    "{% raw %} {# no #} %llm !ls ?",
    "What's this? \"One 'quote\" # and no comment \\",
]


def asked(kernel: Kernel) -> str:
    """The last prompt that the scripted model was asked."""
    return str(json.loads(json.loads(kernel.do(LAST_PROMPT).stdout)))


LAST_PROMPT = """
import json, localllm_magics.session as s
print(json.dumps(json.dumps(s.default_session().current._engine.requests[-1].messages[-1].text)), end="")
"""


@pytest.fixture(autouse=True)
def _scripted(kernel: Kernel) -> None:
    say(kernel, "Hi.")


@pytest.mark.parametrize("text", LITERAL)
def test_braces_quotes_and_dollars_stay(kernel: Kernel, text: str) -> None:
    kernel.do(f"%%llm\n{text}")
    in_a_cell = asked(kernel)
    kernel.do(f"%llm ask {text.removesuffix(chr(92))}")
    in_a_line = asked(kernel)

    assert in_a_cell == text
    assert in_a_line == text.removesuffix("\\").rstrip()


@pytest.mark.parametrize("value", [*LITERAL, "{{ x }}", r"\{{ x }} {{ 1/0 }}", "{{"])
def test_what_is_inserted_is_never_expanded_again(kernel: Kernel, value: str) -> None:
    kernel.do(f"value = {value!r}; x = 'wrong'")
    kernel.do("%%llm\nRead: {{ value }}!")
    in_a_cell = asked(kernel)
    kernel.do("%llm ask Read: {{ value }}!")

    assert in_a_cell == asked(kernel) == f"Read: {value}!"


def test_a_table_is_inserted(kernel: Kernel) -> None:
    kernel.do("import pandas as pd; table = pd.DataFrame({'city': ['Oslo', 'Rome'], 'people': [1, 2]})")
    kernel.do("%%llm -s '{{ table.shape }}'\nSum up: {{ table }}")

    assert "| Oslo | 1 |" in asked(kernel)


def test_an_expression_is_evaluated_once(kernel: Kernel) -> None:
    kernel.do("calls = []")
    kernel.do("%%llm\n{{ calls.append(1) }}")

    assert kernel.value("calls") == "[1]"


def test_two_answers_of_one_cell_both_stay(kernel: Kernel) -> None:
    cell = kernel.do("for name in 'ab':\n    print(name)\n    get_ipython().run_cell_magic('llm', '', name)")

    assert [output["kind"] for output in cell.left if "data" in output] == ["display_data"] * 2
    assert len(cell.finals) == 2
    assert cell.stdout == "a\nb\n"


def test_what_was_printed_before_stays(kernel: Kernel) -> None:
    cell = kernel.do("print('before')\n%llm ask Hi\nprint('after')")

    assert "clear_output" not in cell.kinds
    assert cell.stdout == "before\nafter\n"


def test_capture_keeps_the_bundle(kernel: Kernel) -> None:
    kernel.do("%%capture kept\n%%llm\nHi")

    assert kernel.value("[type(output).__name__ for output in kept.outputs][-1]") == "'RichOutput'"
    assert kernel.value(f"{MIME_TYPE!r} in kept.outputs[-1].data") == "True"


def test_time_measures_a_cell(kernel: Kernel) -> None:
    cell = kernel.do("%%time\n%%llm\nHi")

    assert "Wall time" in cell.stdout
    assert cell.document["text"] == "Hi."


@pytest.mark.parametrize("code", ["%%llm\nHi", "%llm ask Hi", "%%llm -b\nHi"])
def test_a_hostile_answer_is_inert(kernel: Kernel, code: str) -> None:
    say(kernel, HOSTILE)

    id_ = kernel.start(code)
    kernel.wait(id_)
    cell = kernel.wait_for_final(id_)

    live = [str(message.content["data"]["text/markdown"]) for message in cell.messages]
    for look in live:
        assert re.findall(r"<(?!/?(?:small|code|span|b|i|sub|sup|br)\b)[a-zA-Z/!]", look) == []
        assert re.findall(r"!\[|\]\(javascript", look) == []
    for shown in (cell.bundle["text/plain"], *live):
        assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert cell.document["text"] == HOSTILE


def test_an_engine_that_hangs_can_be_interrupted(kernel: Kernel) -> None:
    say(kernel, "one two", hangs_after=1)
    id_ = kernel.start("%%llm\nHi")
    kernel.wait_for_text(id_, "generating")
    kernel.interrupt()

    assert kernel.wait(id_).document["state"] == "stopped"


@pytest.mark.parametrize("in_background", [False, True], ids=["in a cell", "in the background"])
def test_a_kernel_that_generates_can_be_shut_down(tmp_path: Path, in_background: bool) -> None:
    with Kernel(tmp_path) as kernel:
        say(kernel, "one two", hangs_after=1)
        id_ = kernel.start("%%llm -b\nHi" if in_background else "%%llm\nHi")
        kernel.wait_for_text(id_, "generating")

        start = time.monotonic()
        kernel.manager.shutdown_kernel()
        seconds = time.monotonic() - start

    assert seconds < 10


def test_unloading_ends_what_runs_in_the_background(kernel: Kernel) -> None:
    say(kernel, "one two", hangs_after=1)
    id_ = kernel.start("%%llm -b\nHi")
    kernel.wait(id_)
    kernel.wait_for_text(id_, "generating")
    kernel.do("%unload_ext localllm_magics")
    cell = kernel.wait_for_final(id_)
    kernel.do("%load_ext localllm_magics")

    assert cell.document["state"] == "stopped"
