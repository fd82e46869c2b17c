import asyncio
import builtins
from collections.abc import Callable
from typing import Any

import pytest

from localllm_magics.core.errors import BadExpression, UsageError
from localllm_magics.notebook.prompt.interpolate import interpolate, names_in

WAYS_OUT = r"write `\{{` for literal braces, or add `--no-vars`"


class Broken(Exception):
    def __str__(self) -> str:
        raise self


class Raising:
    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def __str__(self) -> str:
        raise self._problem


class Unprintable:
    def __str__(self) -> str:
        msg = "no text here"
        raise ValueError(msg)


def evaluator(**names: object) -> Callable[[str], object]:
    return lambda source: eval(source, names)  # noqa: S307 - what the magic does in the user's namespace


def error_of(text: str, **names: object) -> BadExpression:
    return interpolate_error(text, dict(names))


def interpolate_error(text: str, namespace: dict[Any, object]) -> BadExpression:
    with pytest.raises(BadExpression) as caught:
        interpolate(text, lambda source: eval(source, namespace))  # noqa: S307 - as above
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Tell me about {{ city }}.", "Tell me about Rome.", id="name"),
        pytest.param("{{city}}{{ 1 + 1 }}", "Rome2", id="two"),
        pytest.param("{{\n  city.upper()\n}}", "ROME", id="over-lines"),
        pytest.param('{{ {"a": {"b": 1}}["a"] }}', "{'b': 1}", id="nested-braces"),
        pytest.param("{{ {1: {2: {}}}}}", "{1: {2: {}}}", id="braces-side-by-side"),
        pytest.param('{{ "}}" + f"{city!r:>8}" }}', "}}  'Rome'", id="braces-in-strings"),
        pytest.param(r'{{ "\d" }}', r"\d", id="invalid-escape", marks=pytest.mark.filterwarnings("ignore")),
        pytest.param(r"\{{ city }} and {{ city }}", "{{ city }} and Rome", id="literal-braces"),
        pytest.param("{{ template }}", "{{ city }} \\{{", id="inserted-text-is-not-expanded"),
        pytest.param("{{ None }} {{ 1.5 }} {{ [1] }}", "None 1.5 [1]", id="str"),
    ],
)
def test_expressions_are_replaced_by_their_values(text: str, expected: str) -> None:
    assert interpolate(text, evaluator(city="Rome", template="{{ city }} \\{{")) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param('{"a": {"b": [1, {"c": {}}]}}', id="json"),
        pytest.param('f"{x!r:>{width}} {os.environ[HOME]}"', id="f-string"),
        pytest.param(r"\frac{a}{b} \text{x} \{ \\ \}", id="latex"),
        pytest.param("}} { { } }", id="loose-braces"),
    ],
)
def test_everything_else_passes_unchanged(text: str) -> None:
    assert interpolate(text, evaluator()) == text


def test_each_expression_is_evaluated_once_and_in_order() -> None:
    seen: list[str] = []

    interpolate("{{ b }} {{ a }} {{ b }}", seen.append)

    assert seen == ["b", "a", "b"]


def test_nothing_is_evaluated_when_one_expression_is_no_python() -> None:
    seen: list[str] = []

    with pytest.raises(BadExpression):
        interpolate("{{ a }} {{ b c }}", seen.append)

    assert seen == []


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        pytest.param("{{ x", "{{ has no }} after it", "Close the expression with }}, ", id="unbalanced"),
        pytest.param(
            "{{ }} a }}", "nothing between {{ and }}", "Put a Python expression between the braces, ", id="empty"
        ),
        pytest.param("{{ x y }}", "not a Python expression: invalid syntax", "Correct the expression, ", id="syntax"),
        pytest.param(
            "{{ 1/0 }}", "ZeroDivisionError: division by zero", "Try the expression in a cell of its own, ", id="raises"
        ),
        pytest.param(
            "{{ citty }}",
            "NameError: name 'citty' is not defined",
            "Did you mean city? Define citty in a cell above, ",
            id="misspelt-name",
        ),
        pytest.param(
            "{{ qqqqqq }}", "NameError: name 'qqqqqq' is not defined", "Define qqqqqq in a cell above, ", id="no-name"
        ),
        pytest.param("{{ fail() }}", "Broken", "Try the expression in a cell of its own, ", id="unprintable-error"),
        pytest.param(
            "{{ thing }}",
            "the Unprintable cannot be turned into text: ValueError: no text here",
            "Insert a part of it that can be printed, ",
            id="unprintable-value",
        ),
    ],
)
def test_a_bad_expression_says_what_is_wrong_and_what_to_do(text: str, problem: str, hint: str) -> None:
    def fail() -> None:
        raise Broken

    error = error_of(text, city="Rome", fail=fail, thing=Unprintable())

    assert error.message.splitlines()[0] == f"line 1, column 1: {problem}"
    assert error.hint == hint + WAYS_OUT


def test_a_null_byte_is_no_expression() -> None:
    assert "not a Python expression" in error_of("{{ \0 }}").message


def test_an_expression_nested_too_deeply_is_no_expression() -> None:
    assert "not a Python expression" in error_of("{{ " + "(" * 5_000 + " }}").message


def test_a_name_error_without_a_name_gets_the_general_advice() -> None:
    def evaluate(source: str) -> object:
        raise NameError(source)

    with pytest.raises(BadExpression) as caught:
        interpolate("{{ x }}", evaluate)

    assert caught.value.hint == "Try the expression in a cell of its own, " + WAYS_OUT


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("a {{ x }} b", ["line 1, column 3", "a {{ x }} b", "  ^^^^^^^"], id="first-line"),
        pytest.param("a\n\n\tb {{ x }}\nc", ["line 3, column 4", " b {{ x }}", "   ^^^^^^^"], id="third-line"),
        pytest.param("a {{\nx\n}} b", ["line 1, column 3", "a {{", "  ^^"], id="over-lines"),
        pytest.param(
            "a" * 500 + "{{ x }}" + "b" * 500,
            ["line 1, column 501", "a" * 50 + "{{ x }}" + "b" * 43, " " * 50 + "^" * 7],
            id="long-line",
        ),
    ],
)
def test_an_error_points_at_its_place(text: str, place: list[str]) -> None:
    where, line, carets = error_of(text).message.split("\n")

    assert [where.partition(":")[0], line.removeprefix("    "), carets.removeprefix("    ")] == place


def test_the_error_keeps_its_cause() -> None:
    assert isinstance(error_of("{{ 1/0 }}").__cause__, ZeroDivisionError)
    assert isinstance(error_of("{{ 1 1 }}").__cause__, SyntaxError)


def test_an_interrupt_passes_through() -> None:
    def evaluate(source: str) -> object:
        raise KeyboardInterrupt(source)

    with pytest.raises(KeyboardInterrupt):
        interpolate("{{ x }}", evaluate)


def test_an_interrupt_while_a_value_is_described_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        interpolate("{{ thing }}", evaluator(thing=Raising(KeyboardInterrupt())))


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        pytest.param("Type: %llm doctor", r"Type: %llm doctor, write `\{{` for literal braces", id="its own hint"),
        pytest.param("", r"Try the expression in a cell of its own, write `\{{`", id="none"),
    ],
)
def test_an_error_of_ours_keeps_its_message_and_its_hint(hint: str, expected: str) -> None:
    error = error_of("{{ str(thing) }}", thing=Raising(UsageError("It is not there.", hint)))

    assert error.message.startswith("line 1, column 1: It is not there.\n")
    assert error.hint.startswith(expected)


@pytest.mark.parametrize(
    "problem", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()], ids=lambda one: type(one).__name__
)
def test_whatever_else_the_users_code_raises_is_a_bad_expression(problem: BaseException) -> None:
    thing = Raising(problem)

    in_evaluation, in_description = error_of("{{ str(thing) }}", thing=thing), error_of("{{ thing }}", thing=thing)

    assert f"column 1: {type(problem).__name__}" in in_evaluation.message
    assert f"the Raising cannot be turned into text: {type(problem).__name__}" in in_description.message
    assert (in_evaluation.__cause__, in_description.__cause__) == (problem, problem)


def test_a_long_message_is_cut() -> None:
    assert len(error_of("{{ {}['k' * 1_000_000] }}").message) < 2_000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("fram", "frame", id="the user's own"),
        pytest.param("ouput", "output", id="the user's own before one of the shell's"),
        pytest.param("opens", "options", id="the user's own before a builtin"),
        pytest.param("prnit", "print", id="a builtin"),
        pytest.param("nope", "", id="a builtin that is not near"),
        pytest.param("quits", "", id="one of the shell's"),
        pytest.param("_hiddn", "", id="a hidden one"),
        pytest.param("runfil", "", id="one that a debugger added"),
    ],
)
def test_a_name_that_could_be_meant_is_suggested(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setattr(builtins, "runfile", test_a_long_message_is_cut, raising=False)
    shells = {"Out": {}, "quit": 1, "open": open, "_hidden": 1, 5: "not a name"}

    hint = interpolate_error(f"{{{{ {name} }}}}", {**shells, "frame": 1, "output": 1, "options": 1}).hint

    assert hint.partition("Define")[0] == (f"Did you mean {meant}? " if meant else "")


def test_a_page_of_closing_braces_costs_a_bounded_number_of_tries() -> None:
    assert "not a Python expression" in error_of("{{ a b" + "}} " * 100_000).message


@pytest.mark.parametrize(
    ("source", "f_string"),
    [
        pytest.param("x:.2f", 'f"{x:.2f}"', id="a format"),
        pytest.param("x!r", 'f"{x!r}"', id="a conversion"),
        pytest.param("x=", 'f"{x=}"', id="a name and its value"),
        pytest.param("d:%d %b %Y", 'f"{d:%d %b %Y}"', id="a date"),
        pytest.param('a["b"]:,', "f'{a[\"b\"]:,}'", id="double quotes inside"),
        pytest.param("a[\"b\"]['c']:,", 'f"""{a["b"][\'c\']:,}"""', id="both quotes inside"),
    ],
)
def test_a_format_without_an_f_string_is_shown_with_one(source: str, f_string: str) -> None:
    error = error_of(f"{{{{ {source} }}}}")

    assert error.message.startswith("line 1, column 1: a format needs an f-string\n")
    assert error.hint == f"Write {{{{ {f_string} }}}}, {WAYS_OUT}"


@pytest.mark.parametrize("source", ['"a": 1', "x y", "why: because", "x:", "if x:"])
def test_what_is_no_format_gets_no_f_string(source: str) -> None:
    assert "f-string" not in str(error_of(f"{{{{ {source} }}}}"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("{{ b + len(a) }} {{ c.d }}", ["a", "b", "c", "len"], id="some"),
        pytest.param("plain {x}", [], id="none"),
        pytest.param("{{ a }} {{ b c }}", [], id="a wrong expression"),
    ],
)
def test_the_names_in_a_prompt_are_found(text: str, names: list[str]) -> None:
    assert names_in(text) == names
