"""One display, within its traffic."""

import json

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.notebook.card.display import Display

Displays = list[dict[str, object]]


class Clock:
    """Shows NOW, which a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def size(displays: Displays) -> int:
    """What DISPLAYS cost as contents of messages."""
    return sum(len(json.dumps(display, ensure_ascii=False).encode()) for display in displays)


def test_it_is_updated_in_place(bare_shell: InteractiveShell, displays: Displays) -> None:
    display = Display(bare_shell)
    display.publish({"text/plain": "a"})
    display.publish({"text/plain": "b"})

    assert [(shown["update"], shown["data"]) for shown in displays] == [
        (False, {"text/plain": "a"}),
        (True, {"text/plain": "b"}),
    ]
    assert displays[0]["transient"] == displays[1]["transient"] != {}


def test_updates_have_a_distance(bare_shell: InteractiveShell, displays: Displays) -> None:
    clock = Clock()
    display = Display(bare_shell, clock=clock)
    for tick in range(100):
        clock.now = tick / 100
        display.update({"text/plain": str(tick)})

    assert len(displays) <= 11


@pytest.mark.parametrize("letter", ["a", '"', "ü", "模"])
@pytest.mark.parametrize(("letters_per_second", "updates"), [(20, 200), (2_000, 5)])
def test_an_answer_costs_what_it_may(
    bare_shell: InteractiveShell, displays: Displays, letter: str, letters_per_second: int, updates: int
) -> None:
    clock = Clock()
    display = Display(bare_shell, clock=clock)
    seconds, text = 60, ""
    for tick in range(seconds * 10):
        clock.now = tick / 10
        text = letter * (tick * letters_per_second // 10)
        display.update({"text/markdown": text, "text/plain": "generating"}, text)
    display.publish({"text/markdown": text, "text/plain": text, "application/json": {"text": text}})

    assert size(displays) <= 6 * len(text.encode()) + 4_000 * seconds + 20_000
    assert len(displays) > updates


def test_without_updates_only_the_end_is_shown(bare_shell: InteractiveShell, displays: Displays) -> None:
    display = Display(bare_shell, is_live=False)
    display.update({"text/plain": "a"})
    display.publish({"text/plain": "b"})

    assert [(shown["update"], shown["transient"]) for shown in displays] == [(False, {})]


def test_without_a_shell_nothing_is_shown(displays: Displays) -> None:
    Display(None).update({"text/plain": "a"})

    assert displays == []
