"""`%llm ask` lines may end in a question mark; everything else in a cell stays as it is."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.notebook.input_transformer import keep_empty_cells, rewrite_ask_lines

QUOTE = "ask It's A?"
BACKSLASH = "ask A \\"


def call(text: str, name: str = "llm") -> str:
    return f"get_ipython().run_line_magic({name!r}, {text!r})"


@pytest.mark.parametrize(
    ("cell", "rewritten"),
    [
        pytest.param("%llm ask Why?\n", f"{call('ask Why?')} and None\n", id="alone"),
        pytest.param("%localllm ask Why?\n", f"{call('ask Why?', 'localllm')} and None\n", id="second name"),
        pytest.param("x = %llm ask Why?\n", f"x = {call('ask Why?')}\n", id="assigned"),
        pytest.param("x=%llm ask Why?\n", f"x = {call('ask Why?')}\n", id="assigned without blanks"),
        pytest.param("a.b['c'] = %llm ask Why?\n", f"a.b['c'] = {call('ask Why?')}\n", id="assigned to a part"),
        pytest.param("größe = %llm ask Why?\n", f"größe = {call('ask Why?')}\n", id="assigned to a foreign name"),
        pytest.param("for i in n:\n    %llm ask A\n", f"for i in n:\n    {call('ask A')} and None\n", id="indented"),
        pytest.param("%llm What is new?\n", f"{call('What is new?')} and None\n", id="the command left out"),
        pytest.param("%llm ask A {{ x }}\n", f"{call('ask A {{ x }}')} and None\n", id="an expression at the top"),
        pytest.param(
            "def f(x):\n    y = %llm ask {{ x + len(z) }}\n",
            f"def f(x):\n    y = ({call('ask {{ x + len(z) }}')}, lambda: (len, x, z,))[0]\n",
            id="an expression in a function",
        ),
        pytest.param(
            "if a:\n    %llm ask {{ b\n", f"if a:\n    {call('ask {{ b')} and None\n", id="a wrong expression"
        ),
        pytest.param("%llm ask What's new?\n", call("ask What's new?") + " and None\n", id="an apostrophe"),
        pytest.param("%llm ask A\n%llm ask B?\n", f"{call('ask A')} and None\n{call('ask B?')} and None\n", id="twice"),
        pytest.param("%llm ask A?", f"{call('ask A?')} and None\n", id="no line end"),
        pytest.param("%llm ask A \\\n  B?\nx?\n", f"{call('ask A B?')} and None\n\nx?\n", id="a line that goes on"),
        pytest.param(
            "x = %llm ask -n 2 \\\n  hello \\\n  you?\n",
            f"x = {call('ask -n 2 hello you?')}\n\n\n",
            id="assigned, over three lines",
        ),
        pytest.param("%llm ask A \\\r\nB?\r\n", f"{call('ask A B?')} and None\n\n", id="other line ends"),
        pytest.param(
            "%llm ask It's \\\nA?\n%llm ask B?",
            f"{call(QUOTE)} and None\n\n{call('ask B?')} and None\n",
            id="an apostrophe, going on",
        ),
        pytest.param("%llm ask A \\\n", f"{call(BACKSLASH)} and None\n", id="nothing after a backslash"),
        pytest.param(
            "s = '''\n%llm ask A?\n'''\n%llm ask It's B?\n",
            "s = '''\n%llm ask A?\n'''\n" + call("ask It's B?") + " and None\n",
            id="only outside of a string",
        ),
        pytest.param("%llm ask A?\nf(\n", f"{call('ask A?')} and None\nf(\n", id="in an unfinished cell"),
        pytest.param(
            "%llm ask It's A\nf = f'''\n%llm ask {b}\n'''\n%time 'c\n%llm ask D\n",
            call("ask It's A") + " and None\nf = f'''\n%llm ask {b}\n'''\n%time 'c\n" + call("ask D") + " and None\n",
            id="between other magics with quotation marks",
        ),
    ],
)
def test_a_question_becomes_a_call(cell: str, rewritten: str) -> None:
    assert "".join(rewrite_ask_lines(cell.splitlines(keepends=True))) == rewritten


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("", id="nothing"),
        pytest.param("x = 1\n", id="Python"),
        pytest.param("len?\n", id="a call for help"),
        pytest.param("%llm status\n", id="another command"),
        pytest.param("%llm asking?\n", id="another word"),
        pytest.param("!echo one \\\n  %llm ask two?\n", id="another magic that goes on"),
        pytest.param("s = '''\n%llm ask \\\none?\n'''\n%time\n", id="a string with a backslash"),
        pytest.param("%%timeit\n%llm ask Why?\n", id="a cell magic"),
        pytest.param("%%llm\n%llm ask Why?\n", id="a prompt"),
        pytest.param("s = '''\n%llm ask Why?\n'''\n", id="a string"),
        pytest.param("%matplotlib inline\ns = '''\n%llm ask Why?\n'''\n", id="a string beside a magic"),
        pytest.param("!echo it's\ns = '''\n%llm ask Why?\n'''\n", id="a string beside a command of the system"),
        pytest.param("y = (10\n%llm\n)\n", id="a remainder"),
    ],
)
def test_everything_else_stays(cell: str) -> None:
    lines = cell.splitlines(keepends=True)

    assert rewrite_ask_lines(lines) == lines


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        pytest.param(["%%llm demo -t 0\n"], ["%%llm demo -t 0\n", "\n"], id="a line end"),
        pytest.param(["%%localllm"], ["%%localllm", "\n"], id="no line end"),
        pytest.param(["%%llm\n", "Hi\n"], ["%%llm\n", "Hi\n"], id="a prompt"),
        pytest.param(["%%llm?\n"], ["%%llm?\n"], id="a call for help"),
        pytest.param(["%%llmx\n"], ["%%llmx\n"], id="another magic"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_a_cell_without_a_prompt_gets_an_empty_one(cell: list[str], kept: list[str]) -> None:
    assert keep_empty_cells(cell) == kept


def test_a_prompt_can_be_typed_below_its_line(shell: InteractiveShell) -> None:
    assert shell.check_complete("%%llm demo")[0] == "incomplete"
    assert shell.check_complete("%%llm demo\nHi\n\n")[0] == "complete"
