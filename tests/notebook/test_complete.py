"""Tab, through IPython's own completer."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.model import Model
from localllm_magics.notebook.commands.registry import COMMANDS
from localllm_magics.notebook.complete import MOST_OFFERED, complete
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import Session, default_session
from tests.notebook.conftest import found_in_time
from tests.server.ollama_stand_in import OllamaStandIn

SCHEMES = {"ollama:", "openai:", "llamafile:"}


def tab(shell: InteractiveShell, text: str) -> set[str]:
    """What stands at the end of TEXT after each of the offers."""
    with provisionalcompleter():
        found = shell.Completer.completions(text, len(text))
        return {(text[: one.start] + one.text + text[one.end :]).rsplit(" ", 1)[-1] for one in found}


def lines_after_tab(shell: InteractiveShell, text: str, after: str = "") -> set[str]:
    """TEXT before the cursor with each of the offers inserted."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(text + after, len(text)))
        return {text[: one.start] + one.text for one in found if one.end == len(text)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("%llm lo", {"load"}, id="a command"),
        pytest.param("%localllm st", {"status", "stop"}, id="commands"),
        pytest.param("%llm ", set(COMMANDS), id="all commands"),
        pytest.param("x = %llm a", {"ask"}, id="a command, assigned"),
        pytest.param("%llm load d", {"demo"}, id="a model"),
        pytest.param("%llm load ", {"demo", "other.gguf", "one.llamafile", *SCHEMES}, id="all models"),
        pytest.param("%llm load o", {"other.gguf", "one.llamafile", "ollama:", "openai:"}, id="names with a letter"),
        pytest.param("%llm load --th", {"--threads"}, id="an option of a command"),
        pytest.param("%%llm --gp", {"--gpu-layers"}, id="an option of a cell"),
        pytest.param("%%llm --kv-type q5", {"q5_0", "q5_1"}, id="a type"),
        pytest.param("%%llm --gpu-layers a", {"auto", "all"}, id="words that stand for a number"),
        pytest.param("%%llm --cpu-moe a", {"all"}, id="a value that may be left out"),
        pytest.param("%%llm --cpu-moe d", {"demo"}, id="a model after a value that was left out"),
        pytest.param("%%llm --cpu-moe --fo", {"--force"}, id="an option after one without its value"),
        pytest.param("%%localllm --no-", {"--no-vars", "--no-raise", "--no-think"}, id="options of a cell"),
        pytest.param("%%llm d", {"demo"}, id="a model of a cell"),
        pytest.param("%%llm ol", {"ollama:"}, id="a server's model"),
        pytest.param("%%llm llama", {"llamafile:"}, id="a program"),
        pytest.param("%llm ask -m open", {"openai:"}, id="a server after the option"),
        pytest.param("%%llm --th", {"--think", "--threads"}, id="reasoning"),
        pytest.param("%llm doctor --", {"--clean", "--help"}, id="an option of the doctor"),
        pytest.param("%%llm -m d", {"demo"}, id="a model after its option"),
        pytest.param("%%llm demo --temp", {"--temperature"}, id="an option after a model"),
        pytest.param("x = %llm ask --te", {"--temperature"}, id="an option, assigned"),
        pytest.param("    %llm ask --te", {"--temperature"}, id="an option, indented"),
        pytest.param("a = 1\n%llm ask --te", {"--temperature"}, id="an option on the second line"),
        pytest.param("%llm help lo", {"load"}, id="a command to be explained"),
        pytest.param("%llm help ", set(COMMANDS), id="all commands to be explained"),
        pytest.param("%llm ask --model=de", {"--model=demo"}, id="a model after an equals sign"),
        pytest.param("%%llm -m=de", {"-m=demo"}, id="a model after a short option and an equals sign"),
        pytest.param("%%llm -s 'Be brief.' de", {"demo"}, id="a model after a quoted text"),
    ],
)
def test_tab_offers_what_can_come_next(shell: InteractiveShell, text: str, words: set[str]) -> None:
    Path("other.gguf").touch()
    Path("one.llamafile").touch()

    assert tab(shell, text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("%%llm ollama:d", {"ollama:demo@{url}"}, id="its name"),
        pytest.param("%%llm ollama:demo@http://127", {"ollama:demo@{url}"}, id="its address"),
        pytest.param("%llm load ollama:", {"ollama:", "ollama:demo@{url}"}, id="any of Ollama's"),
        pytest.param("%llm ask -m ollama:zz", set(), id="another"),
    ],
)
def test_models_of_servers_that_were_listed_are_offered(
    shell: InteractiveShell, config: LocalLLM, stand_in: OllamaStandIn, text: str, words: set[str]
) -> None:
    config.daemons = [stand_in.address]
    before = tab(shell, text)
    found_in_time(lambda: shell.run_line_magic("llm", "models"), f"ollama:demo@{stand_in.address}")

    assert tab(shell, text) == {word.format(url=stand_in.address) for word in words}
    assert not any(stand_in.address in word for word in before)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("%%llm my", {"%%llm 'my model.gguf'"}, id="a blank"),
        pytest.param("%%llm --model=my", {"%%llm --model='my model.gguf'"}, id="a blank after an equals sign"),
        pytest.param('%%llm "my', {'%%llm "my model.gguf"'}, id="double quotes"),
        pytest.param('%%llm "my mo', {'%%llm "my model.gguf"'}, id="double quotes and a blank"),
        pytest.param("%llm load 'my mo", {"%llm load 'my model.gguf'"}, id="single quotes"),
        pytest.param("%llm load 'my model.gguf'", {"%llm load 'my model.gguf'"}, id="closed quotes"),
        pytest.param("%llm load it", {"%llm load 'it'\"'\"'s.gguf'"}, id="an apostrophe"),
        pytest.param("%llm load 'it", {"%llm load 'it'\"'\"'s.gguf'"}, id="an apostrophe in single quotes"),
        pytest.param('%llm load "it', {'%llm load "it\'s.gguf"'}, id="an apostrophe in double quotes"),
        pytest.param("%llm load grö", {"%llm load größe.gguf"}, id="letters of the world"),
        pytest.param("%llm load sub/", {"%llm load sub/a.gguf", "%llm load sub/deep/"}, id="a folder"),
        pytest.param("%llm load su", {"%llm load sub/"}, id="a folder's name"),
        pytest.param("%%llm ./su", {"%%llm ./sub/"}, id="a folder's name after a dot"),
        pytest.param("%%llm ./o", {"%%llm ./one.llamafile"}, id="a file after a dot"),
        pytest.param("%llm load ..", {"%llm load ../"}, id="two dots"),
        pytest.param("%llm load ~", {"%llm load ~/"}, id="the home folder"),
        pytest.param("%llm load ~/h", {"%llm load ~/home.gguf"}, id="a file in the home folder"),
        pytest.param("%%llm --model=sub/a", {"%%llm --model=sub/a.gguf"}, id="a path after an equals sign"),
        pytest.param("%%llm llamafile:./o", {"%%llm llamafile:./one.llamafile"}, id="a path after a scheme"),
        pytest.param("%llm load .h", {"%llm load .hidden.gguf"}, id="a hidden file"),
        pytest.param("%llm load parts", {"%llm load parts-00001-of-00002.gguf"}, id="a model in parts"),
    ],
)
def test_a_file_is_offered_so_that_the_line_can_be_run(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, text: str, lines: set[str]
) -> None:
    home = Path("home")
    monkeypatch.setenv("HOME", str(home.absolute()))
    monkeypatch.setenv("USERPROFILE", str(home.absolute()))
    Path("sub/deep").mkdir(parents=True)
    home.mkdir()
    parts = ("parts-00001-of-00002.gguf", "parts-00002-of-00002.gguf")
    files = ("my model.gguf", "it's.gguf", "größe.gguf", "sub/a.gguf", "sub/b.txt", "one.llamafile", ".hidden.gguf")
    for name in (*files, *parts, "home/home.gguf"):
        Path(name).touch()

    assert lines_after_tab(shell, text) == lines


@pytest.mark.skipif(os.name == "nt", reason="a backslash is part of a path there")
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(r"%llm load my\ mo", {r"%llm load my\ model.gguf"}, id="a blank after a backslash"),
        pytest.param("%llm load my\\", set(), id="a backslash before nothing"),
        pytest.param('%llm load "say', {r'%llm load "say \"hi\".gguf"'}, id="quotes in quotes"),
        pytest.param("%llm load 'my dir/'", {"%llm load 'my dir/'x.gguf"}, id="a folder in quotes"),
    ],
)
def test_what_a_shell_can_escape_is_offered_too(shell: InteractiveShell, text: str, lines: set[str]) -> None:
    Path("my dir").mkdir()
    for name in ("my model.gguf", 'say "hi".gguf', "my dir/x.gguf"):
        Path(name).touch()

    assert lines_after_tab(shell, text) == lines


def test_a_quotation_mark_that_is_there_already_is_not_added(shell: InteractiveShell) -> None:
    Path("my model.gguf").touch()

    assert lines_after_tab(shell, '%%llm "my', after='" -n 5') == {'%%llm "my model.gguf'}


def test_a_file_named_like_an_option_is_offered_as_a_path(shell: InteractiveShell) -> None:
    Path("-n.gguf").touch()

    assert "%llm load ./-n.gguf" in lines_after_tab(shell, "%llm load ")


def test_what_stands_after_the_cursor_does_not_matter(shell: InteractiveShell) -> None:
    assert lines_after_tab(shell, "%llm lo", after=" demo") == {"%llm load"}


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="no such names there")
def test_names_that_cannot_be_shown_are_not_offered(shell: InteractiveShell) -> None:
    for name in (b"z\xff.gguf", b"z\n.gguf", b"z\x1b[31m.gguf", b"z.gguf"):
        Path(os.fsdecode(name)).touch()

    assert lines_after_tab(shell, "%llm load z") == {"%llm load z.gguf"}


@pytest.mark.parametrize(
    "text",
    [
        "%llm load missing/",
        "%llm load a\0/",
        "%llm load one.gguf/",
        "%llm load ~nobody-like-that/",
        "%llm load \ud800/",
    ],
)
def test_a_folder_that_cannot_be_read_offers_nothing(shell: InteractiveShell, text: str) -> None:
    Path("one.gguf").touch()

    assert complete(text, "", default_session()) == (text.rpartition(" ")[2], [])


@pytest.mark.parametrize(
    "line",
    [
        "%llm nonsense d",
        "%llm status d",
        "%llm ask d",
        "%llm ask hello d",
        "%llm ask hello -m d",
        "%llm ask hello --te",
        "%llm ask What's -m d",
        "%llm load demo d",
        "%%llm demo d",
        "%%llm -s d",
        "%%llm -s --te",
        "%%llm --max-tokens d",
        "%llm unload ",
    ],
)
def test_what_is_not_known_is_not_guessed(shell: InteractiveShell, line: str) -> None:
    assert tab(shell, line) == set()


@pytest.mark.parametrize("line", ["%llmx lo", "llm lo", "%llm", "x = llm lo"])
def test_other_lines_are_left_to_others(shell: InteractiveShell, line: str) -> None:
    assert complete(line, "", default_session()) is None


def test_python_is_completed_in_an_expression(shell: InteractiveShell) -> None:
    shell.push({"loudness": 1})

    assert "loudness" in tab(shell, "%llm ask about {{ loudn")


def test_python_is_completed_as_before(shell: InteractiveShell) -> None:
    shell.push({"loudness": 1})

    assert "loudness" in tab(shell, "loudn")


def test_unload_offers_what_is_loaded(shell: InteractiveShell, says: Callable[..., Model]) -> None:
    says("Hi.")

    assert tab(shell, "%llm unload ") == {"scripted"}


def test_of_very_many_models_only_some_are_offered() -> None:
    session = Session()
    session.listed = tuple(f"openai:m{number}@http://h:1" for number in range(100_000))

    many = complete("%llm load openai:m", "", session)
    one = complete("%llm load openai:m77777", "", session)

    assert many is not None
    assert len(many[1]) == MOST_OFFERED
    assert one == ("openai:m77777", ["openai:m77777@http://h:1"])
