"""A load shows its progress in one display."""

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.errors import LocalLLMError, NotEnoughMemory
from localllm_magics.core.events import Loading
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop
from localllm_magics.model import Model
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.card.status_line import to_bundle
from localllm_magics.notebook.commands.load import load_model
from localllm_magics.testing import ScriptedEngine

Displays = list[dict[str, object]]


class LoadingEngine(ScriptedEngine):
    """Is half loaded when it meets END, if any."""

    def __init__(self, end: BaseException | None = None) -> None:
        super().__init__()
        self._end = end

    def load(self, stop: Stop) -> Iterator[Loading]:
        yield Loading(0.5)
        if self._end is not None:
            raise self._end


class LoadedEngine(ScriptedEngine):
    """Has nothing to load."""

    def load(self, stop: Stop) -> Iterator[Loading]:
        yield from ()


def new_model(engine: ScriptedEngine) -> Model:
    return Model(engine, ModelInfo(reference="scripted", name="scripted", source="bundled"))


def test_it_ends_with_its_outcome(bare_shell: InteractiveShell, displays: Displays) -> None:
    load_model(new_model(LoadingEngine()), Display(bare_shell))

    assert "scripted · scripted on script · loading · 50%" in str(displays[0])
    assert displays[-1]["data"] == to_bundle("scripted · loaded")
    assert [display["update"] for display in displays] == [False, True]


@pytest.mark.parametrize(
    ("end", "outcome"), [(NotEnoughMemory("It is too big."), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_one_that_does_not_end_well_too(
    bare_shell: InteractiveShell, displays: Displays, end: BaseException, outcome: str
) -> None:
    with pytest.raises((LocalLLMError, KeyboardInterrupt)):
        load_model(new_model(LoadingEngine(end)), Display(bare_shell))

    assert displays[-1]["data"] == to_bundle(f"scripted · {outcome}")


def test_a_load_without_events_shows_nothing(bare_shell: InteractiveShell, displays: Displays) -> None:
    load_model(new_model(LoadedEngine()), Display(bare_shell))

    assert displays == []


def test_without_a_shell_nothing_is_shown(displays: Displays) -> None:
    load_model(new_model(LoadingEngine()), Display(None))

    assert displays == []
