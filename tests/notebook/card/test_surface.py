"""The places where a card is drawn."""

from collections.abc import Callable
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import MIME_TYPE, ModelUsed
from localllm_magics.core.errors import PromptTooLong
from localllm_magics.core.events import Event, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.request import Request
from localllm_magics.model import Model
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.card.surface import DisplaySurface, Surface, TextSurface
from localllm_magics.notebook.config import LocalLLM

Displays = list[dict[str, Any]]
SMALL = '<small style="color:gray">'


def new_generation(*events: Event, notices: tuple[str, ...] = ()) -> Generation:
    generation = Generation(Request(messages=()), ModelUsed(reference="demo"), notices=notices, clock=lambda: 0.0)
    for event in events:
        generation.feed(event)
    return generation


def finish(surface: Surface, generation: Generation) -> None:
    surface.finish(generation.to_completion("stop"), spell_error=True)


def test_a_display_is_updated_up_to_the_completion(bare_shell: InteractiveShell, displays: Displays) -> None:
    surface = DisplaySurface(Display(bare_shell))
    surface.draw(new_generation())
    finish(surface, new_generation(TextDelta("Hi.", 1)))

    assert [display["update"] for display in displays] == [False, True]
    assert displays[0]["transient"] == displays[1]["transient"]
    assert [set(display["data"]) for display in displays] == [
        {"text/markdown", "text/plain"},
        {"text/markdown", "text/plain", MIME_TYPE},
    ]


@pytest.mark.parametrize(
    ("events", "notices", "above"),
    [
        pytest.param([], (), "", id="nothing"),
        pytest.param([TextDelta("*Hi*\n\n<b a", 1)], (), "*Hi*\n\n&lt;b a\n\n", id="text"),
        pytest.param([TextDelta("Hi", 1)], ("Use `x`.",), "Hi\n\nNote: Use `x`.\n\n", id="a notice"),
        pytest.param([ReasoningDelta(f"No.{' so' * 50}\n<b>", 1)], (), None, id="reasoning"),
        pytest.param(
            [ReasoningDelta("Hm.", 1), TextDelta("Hi", 1)],
            (),
            "<details><summary>Reasoning</summary>\n\nIt is shown when the answer is complete.\n\n</details>\n\nHi\n\n",
            id="an answer after reasoning",
        ),
    ],
)
def test_the_status_stands_below_all_that_is_there(
    bare_shell: InteractiveShell,
    displays: Displays,
    events: list[Event],
    notices: tuple[str, ...],
    above: str | None,
) -> None:
    DisplaySurface(Display(bare_shell)).draw(new_generation(*events, notices=notices))

    markdown = displays[0]["data"]["text/markdown"]
    thought = f"{SMALL}… {('so ' * 26)[1:]}&lt;b></small>\n\n"
    assert markdown.startswith(f"{thought if above is None else above}{SMALL}◌ demo · ")


def test_final_shows_the_completion_only(
    bare_shell: InteractiveShell, displays: Displays, capsys: pytest.CaptureFixture[str]
) -> None:
    surface = DisplaySurface(Display(bare_shell, is_live=False))
    surface.draw(new_generation())
    finish(surface, new_generation(TextDelta("Hi.", 1)))

    assert [(display["update"], display["transient"]) for display in displays] == [(False, {})]
    assert capsys.readouterr().out == ""


def test_appended_text_is_not_repeated(
    bare_shell: InteractiveShell, displays: Displays, capsys: pytest.CaptureFixture[str]
) -> None:
    surface = TextSurface(bare_shell)
    generation = new_generation(TextDelta("Hi ", 1))
    surface.draw(generation)
    generation.feed(TextDelta("there.\n", 1))
    error = PromptTooLong("Too long.", "Type: less")
    surface.finish(generation.to_completion("error", error), spell_error=True)

    assert capsys.readouterr().out == "Hi there.\n\n"
    assert [set(display["data"]) for display in displays] == [{"text/plain", MIME_TYPE}]
    assert displays[0]["data"]["text/plain"] == "Too long.\nType: less\n\n[demo · failed · 2 tokens]"


@pytest.mark.parametrize("stream", ["on", "off"])
def test_a_shell_without_a_kernel_is_a_terminal(
    shell: InteractiveShell,
    says: Callable[..., Model],
    displays: Displays,
    config: LocalLLM,
    capsys: pytest.CaptureFixture[str],
    stream: str,
) -> None:
    says("Hello to you.")
    config.stream = stream == "on"

    shell.run_cell("%%llm -o answer\nHello")

    assert capsys.readouterr().out == ("Hello to you.\n\n" if stream == "on" else "")
    assert displays[0]["data"]["text/plain"].startswith(
        "[scripted · script" if stream == "on" else "Hello to you.\n\n[scripted"
    )
    assert shell.user_ns["answer"] is shell.user_ns["_llm"]
