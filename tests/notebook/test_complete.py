"""Tab, through IPython's own completer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.model import Model
from localllm_magics.notebook.commands import COMMANDS
from localllm_magics.notebook.complete import offers
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session
from tests.daemon.ollama_stand_in import OllamaStandIn
from tests.notebook.conftest import found_in_time

SCHEMES = {"ollama:", "openai:", "llamafile:"}


def tab(shell: InteractiveShell, text: str) -> set[str]:
    """What stands at the end of TEXT after each of the offers."""
    with provisionalcompleter():
        found = shell.Completer.completions(text, len(text))
        return {(text[: one.start] + one.text + text[one.end :]).rsplit(" ", 1)[-1] for one in found}


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
        pytest.param("%%localllm --no-", {"--no-vars", "--no-raise", "--no-think"}, id="options of a cell"),
        pytest.param("%%llm d", {"demo"}, id="a model of a cell"),
        pytest.param("%%llm ol", {"ollama:"}, id="a server's model"),
        pytest.param("%%llm llama", {"llamafile:"}, id="a program"),
        pytest.param("%llm ask -m open", {"openai:"}, id="a server after the option"),
        pytest.param("%%llm --th", {"--think", "--threads"}, id="reasoning"),
        pytest.param("%llm doctor --", {"--clean"}, id="an option of the doctor"),
        pytest.param("%%llm -m d", {"demo"}, id="a model after its option"),
        pytest.param("%%llm demo --temp", {"--temperature"}, id="an option after a model"),
        pytest.param("x = %llm ask --te", {"--temperature"}, id="an option, assigned"),
        pytest.param("    %llm ask --te", {"--temperature"}, id="an option, indented"),
        pytest.param("a = 1\n%llm ask --te", {"--temperature"}, id="an option on the second line"),
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
    "line",
    [
        "%llmx lo",
        "llm lo",
        "%llm nonsense d",
        "%llm status d",
        "%llm ask hello d",
        "%%llm -s d",
        "%%llm --max-tokens d",
    ],
)
def test_nothing_is_offered_elsewhere(shell: InteractiveShell, line: str) -> None:
    assert offers(line, default_session()) == []


def test_python_is_completed_as_before(shell: InteractiveShell) -> None:
    shell.push({"loudness": 1})

    assert "loudness" in tab(shell, "loudn")


def test_unload_offers_what_is_loaded(shell: InteractiveShell, says: Callable[..., Model]) -> None:
    says("Hi.")

    assert tab(shell, "%llm unload ") == {"scripted"}
