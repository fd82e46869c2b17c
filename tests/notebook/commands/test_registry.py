"""Each command is declared once; help, parsing and messages follow from that."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import demo
from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound
from localllm_magics.core.table import Table
from localllm_magics.model import Model
from localllm_magics.notebook.commands.registry import COMMANDS
from localllm_magics.notebook.options import ASKING, HELP
from localllm_magics.session import default_session

ROOT = Path(__file__).parents[3]
Says = Callable[..., Model]
CONVERSATIONS = "Conversations are still to come; until then, put what was said into the prompt: {{ _llm.text }}"
BELOW = "Write the prompt below a line with %%llm"
ASK = "%llm ask -m demo -t 0 What is a token?"


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

    assert rows == tuple((option.usage, option.help) for option in (*ASKING, HELP))


@pytest.mark.parametrize(
    ("name", "hint"), [("sttaus", "Did you mean %llm status?"), ("xyzzy", "To list all commands, type: %llm help")]
)
def test_help_of_an_unknown_command_names_the_nearest(shell: InteractiveShell, name: str, hint: str) -> None:
    with pytest.raises(BadOption) as caught:
        shell.run_line_magic("llm", f"help {name}")

    assert caught.value.hint == hint


@pytest.mark.parametrize("line", ["ask --help", "ask -t hot -h Why", "load -h", "-h", "--help"])
def test_every_command_shows_its_options(shell: InteractiveShell, displays: list[dict[str, object]], line: str) -> None:
    shown = shell.run_line_magic("llm", line) or displays[-1]["data"]

    assert ("--threads N" in str(shown)) == (line not in ("-h", "--help"))
    assert ("%llm models" in str(shown)) == ("load" not in line)


def test_so_does_a_cell(shell: InteractiveShell, displays: list[dict[str, object]]) -> None:
    shell.run_cell("%%llm --help").raise_error()
    shell.run_cell("%%llm demo -h\nHi").raise_error()

    assert [str(display["data"]).count("--temperature X") for display in displays] == [2, 2]


def test_a_question_mark_shows_the_commands_and_options(shell: InteractiveShell) -> None:
    shown = shell.object_inspect_text("%llm")

    assert "%llm doctor" in shown
    assert "--gpu-layers N|auto|all" in shown


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
        pytest.param("comand", "Did you mean %llm help?", id="near a word for another"),
        pytest.param("list", "Did you mean %llm models?", id="the name in another program"),
        pytest.param(
            "list all models now", "To ask a model, type: %llm ask list all models now", id="a longer question"
        ),
        pytest.param("run it now", "To ask a model, type: %llm ask run it now", id="another name of ask"),
        pytest.param("-t 0 Why", "To ask a model, type: %llm ask -t 0 Why", id="an option first"),
        pytest.param("hm", "To list all commands, type: %llm help. To ask a model, type: %llm ask hm", id="nothing"),
        pytest.param("threads", CONVERSATIONS, id="not there yet"),
        pytest.param("demo -t 0", f"Write the prompt below a line with %%llm demo -t 0, or type: {ASK}", id="a model"),
        pytest.param(
            "demo Hi", "Write the prompt below a line with %%llm demo Hi, or type: %llm ask -m demo Hi", id="and"
        ),
        pytest.param("x.gguf", f"{BELOW} x.gguf, or type: %llm ask -m x.gguf What is a token?", id="a file"),
        pytest.param("a/x", f"{BELOW} a/x, or type: %llm ask -m a/x What is a token?", id="a path"),
        pytest.param("ollama:x", f"{BELOW} ollama:x, or type: %llm ask -m ollama:x What is a token?", id="a server's"),
        pytest.param("mine", f"{BELOW} mine, or type: %llm ask -m mine What is a token?", id="a file by its name"),
        pytest.param("cut", f"{BELOW} cut, or type: %llm ask -m cut What is a token?", id="a damaged file by its name"),
        pytest.param("Why is it so?", "To ask a model, type: %llm ask Why is it so?", id="a question"),
    ],
)
def test_an_unknown_command_is_refused_with_a_hint(shell: InteractiveShell, line: str, hint: str) -> None:
    Path("mine.gguf").symlink_to(demo.PATH)
    Path("cut.gguf").touch()

    with pytest.raises(BadOption) as caught:
        shell.run_line_magic("llm", line)

    assert caught.value.hint == hint


@pytest.mark.parametrize("line", ["{}", "{} a b", "models {}", "unload {}", "load {}", "help {}", "ask -m {} Why?"])
@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:9", "me:secret@127.0.0.1:9"])
def test_no_message_repeats_a_password(shell: InteractiveShell, line: str, address: str) -> None:
    with pytest.raises(BadOption, match="no user and no password") as caught:
        shell.run_line_magic("llm", line.format(address))

    assert "secret" not in str(caught.value)


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
    assert capsys.readouterr().out == "Stopped 1 answer.\nNothing is running.\n"


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


def test_status_names_what_runs(shell: InteractiveShell, says: Says) -> None:
    prompt = "Tell me\n\x1b[31ma story of a robot " + "that went on " * 100

    with says("one two three", hangs_after=1).stream(prompt) as stream:
        (note,) = table(shell, "status").notes

    assert note.startswith("scripted answers “Tell me a story of a robot that went on ")
    assert note.endswith(f" …”. To stop it, type: %llm stop {stream.request.id}")
    assert len(note) < 160


@pytest.mark.parametrize("line", ["ask", "ask -t 0", "ask --"])
def test_ask_needs_a_text(shell: InteractiveShell, line: str) -> None:
    with pytest.raises(BadOption, match="The prompt is empty"):
        shell.run_line_magic("llm", line)


@pytest.mark.parametrize(
    ("cell", "message", "hint"),
    [
        pytest.param(
            "%%llm demo -t 0",
            "The prompt is empty.",
            f"Write it in the lines below `%%llm demo -t 0`, or type: {ASK}",
            id="a model",
        ),
        pytest.param(
            "%%llm -t 0 'my demo'\n \n",
            "The prompt is empty.",
            "Write it in the lines below `%%llm -t 0 'my demo'`, or type: %llm ask -m 'my demo' -t 0 What is a token?",
            id="a model after an option",
        ),
        pytest.param(
            "%%llm",
            "The prompt is empty.",
            "Write it in the lines below `%%llm`, or type: %llm ask What is a token?",
            id="nothing",
        ),
        pytest.param(
            "%%llm Why is it so?",
            "The prompt is empty.",
            "Write it in the lines below `%%llm`, or type: %llm ask Why is it so?",
            id="a question",
        ),
        pytest.param(
            "%%llm -s Be brief",
            "The prompt is empty.",
            'A text of several words goes into quotation marks: -s "Be brief"',
            id="a text of several words alone",
        ),
        pytest.param("%%llm --bogus", "There is no option --bogus.", "Known options", id="a wrong option"),
        pytest.param(
            "%%llm load demo\nHi", "load is a command, not a model.", "Leave it out, or type: %llm load demo", id="load"
        ),
        pytest.param(
            "%%llm -s You are a pirate\nHi",
            "%%llm does not take 'a'.",
            'A text of several words goes into quotation marks: -s "You are a pirate"',
            id="a text of several words",
        ),
        pytest.param(
            "%%llm -s Be brief\nHi",
            "There is no model 'brief'.",
            'A text of several words goes into quotation marks: -s "Be brief"',
            id="a text whose second word would be the model",
        ),
        pytest.param(
            "%%llm -m demo -s Be brief\nHi",
            "The model is given twice.",
            'A text of several words goes into quotation marks: -s "Be brief"',
            id="a text whose second word would be another model",
        ),
        pytest.param(
            "%%llm C:\\my models\\x.gguf\nHi",
            "%%llm does not take 'models\\\\x.gguf'.",
            'A path with blanks goes into quotation marks: "C:\\my models\\x.gguf"',
            id="a path with a blank",
        ),
        pytest.param(
            "%%llm nothing-like-it\nHi", "There is no model 'nothing-like-it'.", "`%llm models` lists", id="no"
        ),
    ],
)
def test_a_cell_that_cannot_be_asked_says_what_to_type(
    shell: InteractiveShell, cell: str, message: str, hint: str
) -> None:
    error = shell.run_cell(cell).error_in_exec

    assert isinstance(error, LocalLLMError)
    assert error.message == message
    assert error.hint.startswith(hint)


def test_a_cell_takes_one_model(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="%%llm does not take 'is'"):
        shell.run_cell_magic("llm", "what is this", "Hello")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_documents_name_only_what_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    flags = {flag for command in COMMANDS.values() for option in command.all_options for flag in option.flags}
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
