"""The places where a card is drawn."""

import json
from collections.abc import Callable

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import MIME_TYPE, ModelUsed
from localllm_magics.core.events import TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from localllm_magics.model import Model
from localllm_magics.notebook.card.surface import CellSurface, Display, DisplaySurface, Surface, TerminalSurface

Displays = list[dict[str, object]]
BYTES_PER_SECOND = 4_000


def new_generation() -> Generation:
    model = ModelUsed(reference="demo", engine="kernel", device="CPU", context=8192)
    return Generation(Request(messages=()), model)


def finish(surface: Surface, text: str = "Hi.") -> None:
    generation = new_generation()
    generation.feed(TextDelta(text, 1))
    completion = generation.to_completion("stop")
    surface.finish(completion.to_bundle(), completion)


def new_progress(tokens: int = 0) -> Progress:
    generation = new_generation()
    if tokens:
        generation.feed(TextDelta("a", tokens))
    return Progress.of(generation)


def test_a_cell_is_cleared_when_the_bundle_comes(
    bare_shell: InteractiveShell, displays: Displays, capsys: pytest.CaptureFixture[str]
) -> None:
    surface = CellSurface(bare_shell)
    surface.show(new_progress(), "")
    surface.append("Hi")
    surface.append(".")
    live = list(displays)

    finish(surface)

    assert [display["update"] for display in live] == [False]
    assert [set(display["data"]) for display in displays] == [{"text/markdown", "text/plain", MIME_TYPE}]  # type: ignore[call-overload] # a dict
    assert capsys.readouterr().out.startswith("Hi.")


def test_the_line_above_is_updated_in_place(bare_shell: InteractiveShell, displays: Displays) -> None:
    surface = CellSurface(bare_shell)
    surface.show(new_progress(), "")
    surface.show(new_progress(), "")

    assert [display["update"] for display in displays] == [False, True]
    assert displays[0]["transient"] == displays[1]["transient"]


def test_a_display_is_updated_up_to_the_bundle(bare_shell: InteractiveShell, displays: Displays) -> None:
    surface = DisplaySurface(Display(bare_shell))
    surface.show(new_progress(), "")
    surface.append("Hi.")
    finish(surface)

    assert [display["update"] for display in displays] == [False, True]
    assert displays[0]["transient"] == displays[1]["transient"]
    assert MIME_TYPE in str(displays[1]["data"])


@pytest.mark.parametrize("letter", ["a", "<", "ü", "模"])
@pytest.mark.parametrize("updates_per_second", [4, 20])
def test_a_display_keeps_the_traffic_small(
    bare_shell: InteractiveShell, displays: Displays, letter: str, updates_per_second: int
) -> None:
    now = [0.0]
    surface = DisplaySurface(Display(bare_shell, clock=lambda: now[0]))
    seconds = 60
    for tick in range(seconds * updates_per_second):
        now[0] = tick / updates_per_second
        surface.show(new_progress(tick), letter * tick)

    size = sum(len(json.dumps(display, ensure_ascii=False).encode()) for display in displays)

    assert size <= BYTES_PER_SECOND * seconds + 20_000
    assert len(displays) >= seconds


def test_final_shows_the_bundle_only(
    bare_shell: InteractiveShell, displays: Displays, capsys: pytest.CaptureFixture[str]
) -> None:
    surface = DisplaySurface(Display(bare_shell, is_live=False))
    surface.show(new_progress(), "")
    surface.append("Hi.")
    finish(surface)

    assert [(display["update"], display["transient"]) for display in displays] == [(False, {})]
    assert capsys.readouterr().out == ""


def test_a_terminal_prints_text_and_stats(capsys: pytest.CaptureFixture[str]) -> None:
    surface = TerminalSurface()
    surface.show(new_progress(), "")
    surface.append("Hi.")
    finish(surface)

    assert capsys.readouterr().out.startswith("Hi.\n\n[demo · CPU · 1 token")


def test_a_terminal_without_text_prints_stats_only(capsys: pytest.CaptureFixture[str]) -> None:
    surface = TerminalSurface()
    finish(surface, "")

    assert capsys.readouterr().out.startswith("[demo")


def test_a_shell_without_a_kernel_is_a_terminal(
    shell: InteractiveShell, says: Callable[..., Model], displays: Displays, capsys: pytest.CaptureFixture[str]
) -> None:
    says("Hello to you.")

    shell.run_cell("%%llm -o answer\nHello")

    assert capsys.readouterr().out.startswith("Hello to you.\n\n[scripted · script · ")
    assert displays == []
    assert shell.user_ns["answer"] is shell.user_ns["_llm"]
