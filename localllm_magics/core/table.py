"""A table for a terminal and for a notebook, and short forms of large numbers."""

import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from operator import gt
from typing import Protocol

_NUMBER = re.compile(r"~?\d[\d.,]*( \S{1,6})?")
_MARKDOWN_SYNTAX = re.compile(r"[&<>\\$`*\[\]|~@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#+=-]|(?<=\d)[.)](?=\s)")
"""The syntax of Markdown: tags, math, emphasis, code, links, and at the start of a line headings, rules and lists."""
_UNIT = re.compile(r"(?<=\d) (?=(?:[kMGTP]?B|[KMTQ]|tok/s|ms|s)(?!\w))")
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
_JOINER = re.compile(f"(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])")
"""What makes one emoji of several; elsewhere it is a control character like the others."""
_NARROWEST = 20  # columns of a terminal
_NEXT_UNIT = 999.95  # one decimal would show it as 1000.0


class Printer(Protocol):
    """IPython's printer, as passed to `_repr_pretty_`."""

    def text(self, text: str) -> None:
        """Print TEXT."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Table:
    """Rows under headers, with untrusted text.

    Args:
        rows: Each with as many cells as there are headers.
        notes: Sentences below the table.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def to_text(self, width: int | None = None) -> str:
        """The table with aligned columns, whose cells are wrapped where it would be wider than WIDTH characters."""
        if not self.headers:
            return "\n".join(map(_plain, filter(None, [self.title, *self.notes])))
        cells = [[_plain(cell) for cell in row] for row in (self.headers, *self.rows)]
        columns = list(zip(*cells, strict=True))
        widths = _narrowed(columns, width)
        right = [_is_numeric(column[1:]) for column in columns]
        lines = [[*_wrapped(row, widths, right)] for row in cells]
        lines.insert(1, ["  ".join("-" * width for width in widths)])
        above = [_plain(self.title), ""] if self.title else []
        below = ["", *map(_plain, self.notes)] if self.notes else []
        return "\n".join([*above, *chain.from_iterable(lines), *below])

    def to_markdown(self) -> str:
        """The table in GitHub-flavoured Markdown."""
        right = [_is_numeric([_plain(row[index]) for row in self.rows]) for index in range(len(self.headers))]
        rules = ["---:" if numeric else "---" for numeric in right]
        rows = [[unbroken(_escaped(cell)) for cell in row] for row in (self.headers, *self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:])]
        parts = [f"**{_escaped(self.title)}**"] if self.title else []
        parts += ["\n".join(lines)] if self.headers else []
        return "\n\n".join([*parts, *map(_escaped, self.notes)])

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def _repr_pretty_(self, printer: Printer, _cycle: bool) -> None:
        printer.text(self.to_text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


def to_size(size: int | None) -> str:
    """Bytes as `3.3 MB`; empty if the size is not known."""
    return "" if size is None else _scaled(size, ("B", "kB", "MB", "GB", "TB", "PB"))


def to_count(count: int | None) -> str:
    """A number of parameters as `7.2 B`; empty if it is not known."""
    return "" if count is None else _scaled(count, ("", "K", "M", "B", "T", "Q")).rstrip()


def unbroken(text: str) -> str:
    """TEXT with no-break spaces between numbers and their units."""
    return _UNIT.sub("\u00a0", text)


def shortened(name: str, most: int = 60) -> str:
    """NAME, without its middle where it has more than MOST characters."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"


def _scaled(number: int, units: Sequence[str]) -> str:
    power, scaled = 0, float(number)
    while scaled >= _NEXT_UNIT and power < len(units) - 1:
        power, scaled = power + 1, scaled / 1000
    return f"{scaled:.1f} {units[power]}" if power else f"{number} {units[0]}"


def _plain(text: str) -> str:
    """TEXT on one line, with control characters escaped: they could move the cursor or reverse the text."""
    return "\u200d".join(map(_visible, _JOINER.split(text))).strip()


def _visible(text: str) -> str:
    return "".join(" " if char.isspace() else char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _escaped(text: str) -> str:
    """TEXT as Markdown in which no character is syntax, but for pairs of backticks around code."""
    # Some renderers search the finished page for math, but not across elements.
    escaped = _MARKDOWN_SYNTAX.sub(lambda m: f"&#{ord(m[0])};", _plain(text)).replace("&#36;", "<span>&#36;</span>")
    return re.sub("&#96;(.+?)&#96;", r"<code>\1</code>", escaped)


def to_width(text: str) -> int:
    """How many columns of a terminal TEXT needs."""
    shown = (char for char in text if not unicodedata.combining(char) and char != "\u200d")
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in shown)


def _narrowed(columns: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """The widths of COLUMNS, the widest ones narrowed so that a row fits into WIDTH, but no word is cut."""
    widths = [max(map(to_width, column)) for column in columns]
    surplus = sum(widths) + 2 * (len(widths) - 1) - (width or sys.maxsize)
    least = [max([_NARROWEST, *map(to_width, " ".join(column).split())]) for column in columns]
    while surplus > 0 and any(map(gt, widths, least)):
        widest = max(range(len(widths)), key=lambda index: (widths[index] > least[index], widths[index]))
        widths[widest] -= 1
        surplus -= 1
    return widths


def _wrapped(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    """The lines of a row, whose cells are wrapped between words."""
    for parts in zip_longest(*map(_lines, row, widths), fillvalue=""):
        yield "  ".join(map(_aligned, parts, widths, right)).rstrip()


def _lines(cell: str, width: int) -> list[str]:
    if to_width(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)


def _aligned(text: str, width: int, right: bool) -> str:
    gap = " " * (width - to_width(text))
    return gap + text if right else text + gap


def _is_numeric(cells: Sequence[str]) -> bool:
    return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells if cell)
