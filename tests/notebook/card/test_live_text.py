"""Text in a terminal, as a terminal shows it."""

import io
import re

import pytest

from localllm_magics.notebook.card.live_text import LiveText


class Terminal(io.StringIO):
    """What a terminal of COLUMNS makes of what is written."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._columns = columns

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        """The rows of the screen."""
        rows, row, column = [""], 0, 0
        for sequence, char in re.findall(r"(\r|\n|\x1b\[\d*[A-Za-z])|([\s\S])", self.getvalue()):
            if char or sequence == "\n":
                if sequence == "\n" or column == self._columns:
                    row, column = row + 1, 0
                    rows += [""] * (row == len(rows))
                rows[row] = rows[row][:column].ljust(column) + char + rows[row][column + 1 :] if char else rows[row]
                column += len(char)
            elif sequence == "\r":
                column = 0
            elif sequence == "\x1b[K":
                rows[row] = rows[row][:column]
            elif sequence == "\x1b[A":
                row -= 1
            elif sequence.endswith("C"):
                column += int(sequence[2:-1])
        return [text.rstrip() for text in rows]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Terminal:
    columns = getattr(request, "param", 40)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal(columns)


def test_the_status_stands_below_the_text(terminal: Terminal) -> None:
    live = LiveText(terminal)
    live.write("", "loading")
    before = terminal.rows
    live.write("one two", "generating")
    live.write("one two three\nfour ", "still generating")

    assert before == ["loading"]
    assert terminal.rows == ["one two three", "four", "still generating"]


@pytest.mark.parametrize("terminal", [12], indirect=True)
def test_of_a_long_status_the_end_is_shown(terminal: Terminal) -> None:
    LiveText(terminal).write("", "demo · 12.0 tok/s")

    assert terminal.rows == ["….0 tok/s"]


@pytest.mark.parametrize("terminal", [1, 2, 3, 7], indirect=True)
def test_a_terminal_too_narrow_for_a_status_has_none(terminal: Terminal) -> None:
    live = LiveText(terminal)
    live.write("one", "demo · 12.0 tok/s")
    live.end("one two")

    assert terminal.getvalue() == "one two\n\n"


def test_in_the_end_the_text_stands_alone(terminal: Terminal) -> None:
    live = LiveText(terminal)
    live.write("one", "generating")
    live.end("one two\n\n")
    terminal.write("[stats]")

    assert terminal.rows == ["one two", "", "[stats]"]


def test_without_text_nothing_is_left(terminal: Terminal) -> None:
    live = LiveText(terminal)
    live.write("", "loading")
    live.end("")
    terminal.write("[stats]")

    assert terminal.rows == ["[stats]"]


@pytest.mark.parametrize("terminal", [10, 11, 12, 13], indirect=True)
@pytest.mark.parametrize("step", [1, 3, 12])
def test_text_that_wraps_is_whole(terminal: Terminal, step: int) -> None:
    text = "abcdefghijklmnopqrstuvwxyz0123456789" * 2
    live = LiveText(terminal)
    for end in range(0, len(text), step):
        live.write(text[:end], f"a status that is much too long {end}")
    live.end(text)

    assert "".join(terminal.rows) == text


def test_wide_letters_and_tabs_are_measured(terminal: Terminal) -> None:
    live = LiveText(terminal)
    live.write("模型\tx", "status")
    shown = terminal.getvalue()
    live.write("模型\txy", "status")

    assert shown == "模型\tx\n\x1b[2mstatus\x1b[0m"
    assert terminal.getvalue().removeprefix(shown) == "\r\x1b[K\x1b[A\x1b[9Cy\n\x1b[2mstatus\x1b[0m"


def test_what_is_no_terminal_gets_the_text_only() -> None:
    file = io.StringIO()
    live = LiveText(file)
    live.write("\x1b[31mone", "generating")
    live.write("\x1b[31mone two ", "generating")
    live.end("\x1b[31mone two \n")

    assert file.getvalue() == "one two\n\n"


def test_a_terminal_that_knows_no_sequences_gets_the_text_only(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    live = LiveText(terminal)
    live.write("one", "generating")

    assert terminal.getvalue() == "one"
