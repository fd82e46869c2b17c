"""An expression sees what Python code in its place would see."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.notebook.prompt.scope import visible_names
from localllm_magics.testing import ScriptedEngine

BY_CALL = "get_ipython().run_line_magic('llm', 'ask {}')"


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        pytest.param("%llm ask {{ text }}", "global", id="at the top"),
        pytest.param("def f(text):\n    %llm ask {{ text }}\nf('local')", "local", id="a function"),
        pytest.param("def f(text):\n    x = %llm ask {{ text }}\nf('local')", "local", id="a function, assigned"),
        pytest.param(f"def f(text):\n    {BY_CALL.format('{{ text }}')}\nf('local')", "local", id="a call"),
        pytest.param(
            "def f(text):\n    get_ipython().run_cell_magic('llm', '', '{{ text }}')\nf('local')",
            "local",
            id="a cell magic in a function",
        ),
        pytest.param(
            f"def f(text):\n    [{BY_CALL.format('{{ text }} {{ n }}')} for n in [1]]\nf('local')",
            "local 1",
            id="a comprehension",
        ),
        pytest.param(
            f"def f(text):\n    list(map(lambda n: {BY_CALL.format('{{ text }} {{ n }}')}, [1]))\nf('local')",
            "local 1",
            id="a lambda",
        ),
        pytest.param(
            "def f(low):\n    %llm ask {{ [n for n in (1, 2) if n > low] }}\nf(1)", "[2]", id="a comprehension inside"
        ),
        pytest.param(
            f"def f(text):\n    def g():\n        {BY_CALL.format('{{ text }}')}\n    g()\nf('outer')",
            "outer",
            id="a function that runs in another",
        ),
        pytest.param(
            "def f(text):\n    def g():\n        %llm ask {{ text }}\n    return g\nf('outer')()",
            "outer",
            id="a function that outlives the other",
        ),
        pytest.param("class A:\n    text = 'class'\n    %llm ask {{ text }}", "class", id="a class"),
        pytest.param(
            f"class A:\n    text = 'class'\n    def f(self):\n        {BY_CALL.format('{{ text }}')}\n    f(None)",
            "global",
            id="a method does not see its class",
        ),
        pytest.param(
            "async def f(text):\n    %llm ask {{ text }}\nawait f('local')", "local", id="an asynchronous function"
        ),
        pytest.param(
            "def f():\n    for text in ['local']:\n        %llm ask {{ text }}\n        yield\nlist(f())",
            "local",
            id="a generator",
        ),
        pytest.param(
            f"def f(text):\n    %time {BY_CALL.format('{{ text }}')}\nf('local')", "local", id="within another magic"
        ),
        pytest.param("def f(other):\n    %llm ask {{ text }}\nf('local')", "global", id="no such local"),
        pytest.param("def f():\n    global text\n    %llm ask {{ text }}\nf()", "global", id="declared global"),
    ],
)
def test_the_variable_of_its_place_is_inserted(
    shell: InteractiveShell, engine: ScriptedEngine, cell: str, sent: str
) -> None:
    shell.push({"text": "global"})

    shell.run_cell(cell).raise_error()

    assert engine.requests[-1].messages[-1].text == sent


def test_a_local_without_a_value_is_not_replaced_by_a_global(shell: InteractiveShell, engine: ScriptedEngine) -> None:
    shell.push({"text": "global"})

    result = shell.run_cell("def f():\n    %llm ask {{ text }}\n    text = 'local'\nf()")

    assert "name 'text' is not defined" in str(result.error_in_exec)
    assert engine.requests == []


def test_a_name_can_be_bound_at_the_top(shell: InteractiveShell, engine: ScriptedEngine) -> None:
    shell.run_cell("%llm ask {{ (n := 5) }}").raise_error()

    assert shell.user_ns["n"] == 5


def test_nothing_of_the_caller_is_changed() -> None:
    before = 1

    visible_names({})["before"] = 2

    assert before == 1
