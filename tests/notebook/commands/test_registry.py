"""Each command is declared once; help, parsing and messages follow from that."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound
from localllm_magics.core.table import Table
from localllm_magics.model import Model
from localllm_magics.notebook.commands.registry import COMMANDS
from localllm_magics.notebook.options import ASKING
from localllm_magics.session import default_session

ROOT = Path(__file__).parents[3]
Says = Callable[..., Model]


def table(shell: InteractiveShell, line: str) -> Table:
    result = shell.run_line_magic("llm", line)
    assert isinstance(result, Table)
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(shell: InteractiveShell, name: str) -> None:
    command = COMMANDS[name]

    shown = table(shell, f"help {name}")

    assert shown.title == command.usage
    assert shown.notes == (f"{command.help}.",)
    assert command.help[0].islower()
    assert not command.help.endswith(".")


@pytest.mark.parametrize("line", ["", "help", "  help  "])
def test_help_lists_every_command(shell: InteractiveShell, line: str) -> None:
    assert [row[0] for row in table(shell, line).rows] == [command.usage for command in COMMANDS.values()]


def test_help_of_ask_lists_every_option(shell: InteractiveShell) -> None:
    rows = table(shell, "help ask").rows

    assert rows == tuple((option.usage, option.help) for option in ASKING)


def test_help_of_an_unknown_command_names_the_nearest(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption) as caught:
        shell.run_line_magic("llm", "help sttaus")

    assert "%llm status" in caught.value.hint


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.takes_text])
def test_a_command_refuses_what_it_does_not_know(shell: InteractiveShell, name: str) -> None:
    with pytest.raises(BadOption, match="There is no option --nonsense"):
        shell.run_line_magic("llm", f"{name} --nonsense")
    with pytest.raises(BadOption, match=f"%llm {name} does not take 'b'"):
        shell.run_line_magic("llm", f"{name} {'a ' * len(COMMANDS[name].words.split())}b")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        pytest.param("lod demo", "Did you mean %llm load?", id="near"),
        pytest.param("Why is it so?", "To ask a model, type: %llm ask Why is it so?", id="a question"),
    ],
)
def test_an_unknown_command_is_refused_with_a_hint(shell: InteractiveShell, line: str, hint: str) -> None:
    with pytest.raises(BadOption) as caught:
        shell.run_line_magic("llm", line)

    assert caught.value.hint == hint


def test_models_lists_the_bundled_one(shell: InteractiveShell) -> None:
    assert "demo" in [info.reference for info in shell.run_line_magic("llm", "models")]


def test_status_names_what_is_loaded(shell: InteractiveShell, says: Says) -> None:
    empty = table(shell, "status")
    says("Hi.")
    shell.run_line_magic("llm", "ask Hello")

    shown = table(shell, "status")

    assert empty.notes == ("No model is loaded. Type: %llm load demo",)
    assert [row[:2] for row in shown.rows] == [("scripted (current)", "scripted on script")]
    assert shown.rows[0][-1].endswith(" tok/s")


def test_load_shows_the_model(shell: InteractiveShell) -> None:
    shown = table(shell, "load demo --ctx 256")

    assert shown.rows[0][:2] == ("demo (current)", "kernel on CPU")
    assert "256" in shown.rows[0]


def test_load_needs_a_model(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="%llm load needs a model"):
        shell.run_line_magic("llm", "load")


def test_unload_takes_a_name_or_all(shell: InteractiveShell, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    says("Hi.")

    with pytest.raises(ModelNotFound, match="demo is not loaded"):
        shell.run_line_magic("llm", "unload demo")
    shell.run_line_magic("llm", "unload scripted")
    shell.run_line_magic("llm", "unload")

    assert capsys.readouterr().out == "Unloaded scripted.\nNo model is loaded.\n"
    assert default_session().models == ()


def test_stop_says_how_many(shell: InteractiveShell, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
    model = says("one two three", hangs_after=1)
    stream = model.stream("x")

    shell.run_line_magic("llm", f"stop {stream.request.id}")
    stream.wait()
    shell.run_line_magic("llm", "stop")

    assert stream.completion().finish_reason == "stopped"
    assert capsys.readouterr().out == "Stopped 1.\nNothing is running.\n"


def test_only_what_runs_can_be_stopped(shell: InteractiveShell, says: Says) -> None:
    with says("one two three", hangs_after=1).stream("x") as stream:
        with pytest.raises(BadOption) as caught:
            shell.run_line_magic("llm", "stop nobody")

        assert caught.value.message == "No answer with the id nobody is running."
        assert caught.value.hint == f"Running: {stream.request.id}."


def test_a_bad_option_that_is_not_to_raise_leaves_a_failed_answer(
    shell: InteractiveShell, displays: list[dict[str, dict[str, str]]]
) -> None:
    shell.push({"_llm": "an old answer"}, interactive=False)

    assert shell.run_line_magic("llm", "ask --no-raise -t hot Hello") is None

    assert displays[0]["data"]["text/plain"] == "-t cannot be 'hot'.\nTry -t 0.8.\n\n[demo · failed]"
    assert shell.user_ns["_llm"].error.message == "-t cannot be 'hot'."


@pytest.mark.parametrize("line", ["ask why is --no-raise {{ nope }}?", "load nope --no-raise", "nothing --no-raise"])
def test_no_raise_is_an_option_of_questions_only(shell: InteractiveShell, line: str) -> None:
    with pytest.raises(LocalLLMError):
        shell.run_line_magic("llm", line)


@pytest.mark.parametrize("line", ["ask", "ask -t 0", "ask --"])
def test_ask_needs_a_text(shell: InteractiveShell, line: str) -> None:
    with pytest.raises(BadOption, match="The prompt is empty"):
        shell.run_line_magic("llm", line)


def test_a_cell_takes_one_model(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="%%llm does not take 'is'"):
        shell.run_cell_magic("llm", "what is this", "Hello")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_documents_name_only_what_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    flags = {flag for command in COMMANDS.values() for option in command.options for flag in option.flags}
    lines = re.findall(r"^%%?(?:llm|localllm)\b.*$", text, re.MULTILINE) + re.findall(r"`(%%?llm\b[^`]*)`", text)

    commands = {match[1] for line in lines if (match := re.match(r"%(?:llm|localllm) (\w+)", line))}
    options = {word.partition("=")[0] for line in lines for word in re.findall(r"(?<=\s)--?[a-z][\w-]*=?", line)}

    assert commands - COMMANDS.keys() == set()
    assert options - flags == set()


def test_errors_are_one_line_without_traceback(shell: InteractiveShell) -> None:
    result = shell.run_cell("%llm lod")

    error = result.error_in_exec
    assert isinstance(error, LocalLLMError)
    assert error._render_traceback_() == ["BadOption: There is no command %llm lod.\nDid you mean %llm load?"]
