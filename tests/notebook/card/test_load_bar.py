"""A load shows its progress in one display."""

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.events import Loading
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.model import Model
from localllm_magics.notebook.card.load_bar import LoadBar
from localllm_magics.testing import ScriptedEngine

MODEL = Model(ScriptedEngine("Hi."), ModelInfo(reference="scripted", name="scripted", source="bundled"))


def test_it_ends_with_its_outcome(bare_shell: InteractiveShell, displays: list[dict[str, object]]) -> None:
    bar = LoadBar(bare_shell, MODEL)
    bar.show(Loading(0.5))
    bar.end("loaded")

    assert "scripted · loading · 50%" in str(displays[0])
    assert displays[-1]["data"] == {"text/plain": "scripted · loaded"}
    assert [display["update"] for display in displays] == [False, True]


def test_a_load_without_events_shows_nothing(bare_shell: InteractiveShell, displays: list[dict[str, object]]) -> None:
    LoadBar(bare_shell, MODEL).end("loaded")

    assert displays == []


def test_without_a_shell_nothing_is_shown(displays: list[dict[str, object]]) -> None:
    bar = LoadBar(None, MODEL)
    bar.show(Loading(0.5))
    bar.end("loaded")

    assert displays == []
