"""Tab, through IPython's own completer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.model import Model
from localllm_magics.notebook.commands import COMMANDS
from localllm_magics.notebook.complete import offers
from localllm_magics.session import default_session


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
        pytest.param("%llm load ", {"demo", "other.gguf"}, id="all models"),
        pytest.param("%llm load o", {"other.gguf"}, id="a file"),
        pytest.param("%llm load --th", {"--threads"}, id="an option of a command"),
        pytest.param("%%llm --gp", {"--gpu-layers"}, id="an option of a cell"),
        pytest.param("%%localllm --no-", {"--no-vars", "--no-raise"}, id="options of a cell"),
        pytest.param("%%llm d", {"demo"}, id="a model of a cell"),
        pytest.param("%%llm -m d", {"demo"}, id="a model after its option"),
        pytest.param("%%llm demo --temp", {"--temperature"}, id="an option after a model"),
        pytest.param("x = %llm ask --te", {"--temperature"}, id="an option, assigned"),
        pytest.param("    %llm ask --te", {"--temperature"}, id="an option, indented"),
        pytest.param("a = 1\n%llm ask --te", {"--temperature"}, id="an option on the second line"),
    ],
)
def test_tab_offers_what_can_come_next(shell: InteractiveShell, text: str, words: set[str]) -> None:
    Path("other.gguf").touch()

    assert tab(shell, text) == words


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
