import shutil
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import demo
from localllm_magics.catalog import judgement
from localllm_magics.catalog.model_list import HOW_TO_FORECAST, ModelList
from localllm_magics.core.errors import BadOption, SetupError
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import library
from tests.catalog.speeds import speed


def listed(shell: InteractiveShell, line: str = "") -> list[str]:
    found = shell.run_line_magic("llm", f"models {line}".strip())
    assert isinstance(found, ModelList)
    return [info.reference for info in found]


@pytest.fixture(autouse=True)
def folder(shell: InteractiveShell, tmp_path: Path) -> Path:
    shutil.copy(demo.PATH, tmp_path / "mine.gguf")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param("", ["demo", "mine.gguf"], id="all"),
        pytest.param("mine", ["mine.gguf"], id="a word"),
        pytest.param("--source bundled", ["demo"], id="a source"),
        pytest.param("--kind embedding", [], id="a kind"),
        pytest.param("--fits", ["demo", "mine.gguf"], id="what fits"),
        pytest.param("mine --fits --kind chat", ["mine.gguf"], id="several filters"),
    ],
)
def test_the_list_is_filtered(shell: InteractiveShell, line: str, found: list[str]) -> None:
    assert listed(shell, line) == found


def test_each_model_has_its_fit(shell: InteractiveShell) -> None:
    found = shell.run_line_magic("llm", "models")

    assert [info.fit is not None for info in found] == [True, True]


def test_an_unknown_source_is_refused(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="There is no source 'olama'"):
        listed(shell, "--source olama")


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        pytest.param("%llm models --source ja", {"jan"}, id="a source"),
        pytest.param("%llm models --kind adap", {"adapter"}, id="a kind"),
    ],
)
def test_tab_completes_sources_and_kinds(shell: InteractiveShell, text: str, offered: set[str]) -> None:
    with provisionalcompleter():
        assert {one.text for one in shell.Completer.completions(text, len(text))} == offered


def test_configured_folders_are_listed_and_their_models_can_be_named(shell: InteractiveShell, folder: Path) -> None:
    below = folder / "models" / "below"
    below.mkdir(parents=True)
    shutil.copy(demo.PATH, below / "x.gguf")
    shell.run_line_magic("config", "LocalLLM.model_folders = ['models']")

    assert listed(shell) == ["demo", "mine.gguf", "below/x.gguf"]
    assert "below/x.gguf" in str(shell.run_line_magic("llm", "load below/x.gguf"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which no machine was measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_a_measured_machine_a_note_says_how_to_get_forecasts(shell: InteractiveShell, cache: Path) -> None:
    found = shell.run_line_magic("llm", "models")

    assert found.notes == (HOW_TO_FORECAST,)
    assert [info.forecast for info in found] == [None, None]


def test_forecasts_come_once_the_machine_was_measured(shell: InteractiveShell, cache: Path) -> None:
    SpeedStore().put(speed_key(library()), speed("Q8_0", "F16"))

    measured = shell.run_line_magic("llm", "models --forecast")
    again = shell.run_line_magic("llm", "models")

    for found in (measured, again):
        assert HOW_TO_FORECAST not in found.notes
        assert all(info.forecast.tokens_per_second > 0 for info in found)


def test_a_machine_that_cannot_be_measured_has_a_list_all_the_same(
    shell: InteractiveShell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def calibrate(*_: object) -> Calibration:
        raise SetupError("Other programs keep it busy.", "Try again.")

    monkeypatch.setattr(judgement, "calibrate_for", calibrate)

    found = shell.run_line_magic("llm", "models --forecast")

    assert [info.reference for info in found] == ["demo", "mine.gguf"]
    assert found.notes[0] == "Other programs keep it busy. Try again."
