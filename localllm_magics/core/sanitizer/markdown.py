r"""A model's answer as Markdown that is safe in every renderer; the package lists the threats.

JupyterLab extracts math before it parses Markdown, nbconvert searches the whole page for math, tables are split before
code spans are found: what is code to one renderer is prose to another. So nothing here depends on one parser:

- Fenced blocks and display math are written unindented, between blank lines, where every renderer finds them.
- Everything else is escaped character by character, wherever it stands: to no parser is there a tag, an image, a link
  target, a math command or a fence that was not written by this module.
"""

import re
from copy import copy
from dataclasses import dataclass

from localllm_magics.core.sanitizer.bounds import Bounds, bound_indentation, bound_nesting
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.sanitizer.display import Display, find_display
from localllm_magics.core.sanitizer.growing import complete_line, without_half_a_mark
from localllm_magics.core.sanitizer.lines import LEAD, dedent, indent, lead_of, unquoted
from localllm_magics.core.sanitizer.prose import sanitize_line, to_plain_line
from localllm_magics.core.sanitizer.tex import is_drawable, sanitize_tex
from localllm_magics.core.sanitizer.wrapped import join_wrapped

_FENCE = re.compile(LEAD + r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_CODE_INDENT = 4

# Kinds of code that some renderer draws as a diagram.
_DIAGRAMS = frozenset("abc dot geojson graphviz math plantuml puml stl svgbob topojson vega vega-lite wavedrom".split())
_NOT_IN_INFO = re.compile(r"[^A-Za-z0-9_+#.-]")
_TICKS = re.compile("`+")


def to_safe_markdown(text: str) -> str:
    """The text as Markdown in which nothing loads, runs or breaks out, in any renderer."""
    lines = strip_control(text).split("\n")
    page = _Page()
    position = 0
    while position < len(lines):
        position = _write_block(lines, position, page)
    return page.to_markdown()


class GrowingMarkdown:
    """The same for a text that grows: what is open at its end is closed for the look, and finished blocks are kept."""

    def __init__(self) -> None:
        self._page = _Page(is_growing=True)
        self._finished: list[str] = []
        self._state = self._page.state()

    def update(self, text: str) -> str:
        """The text so far as Markdown."""
        lines = without_half_a_mark(strip_control(text).rstrip(" \t").removesuffix("\n").split("\n"))
        position = len(self._finished)
        if lines[:position] != self._finished:
            self._page, position = _Page(is_growing=True), 0
            self._state = self._page.state()
        self._page.go_back_to(self._state)
        finished = position
        while position < len(lines):
            position = _write_block(lines, position, self._page)
            # What the last line becomes, and with it its block, is not known yet.
            if position < len(lines):
                finished, self._state = position, self._page.state()
        self._finished = lines[:finished]
        return self._page.to_markdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Where the page stands after its last line.

    Args:
        lines: How many it has.
        after_block: Whether the last one ends a block that stands alone.
        in_list: Whether the next one belongs to a list.
        moved: If a block is moved out of a list item, the rest of the item is moved by as many columns.
        bounds: What the lines so far leave to the next ones.
    """

    lines: int
    after_block: bool
    in_list: bool
    moved: int
    bounds: Bounds


class _Page:
    """The lines written so far, and the list that the next one belongs to."""

    def __init__(self, *, is_growing: bool = False) -> None:
        self.lines: list[str] = []
        self.is_growing = is_growing
        self._after_block = False
        self._in_list = False
        self._moved = 0
        self._bounds = Bounds()

    def state(self) -> _State:
        """To go back to."""
        return _State(
            lines=len(self.lines),
            after_block=self._after_block,
            in_list=self._in_list,
            moved=self._moved,
            bounds=copy(self._bounds),
        )

    def go_back_to(self, state: _State) -> None:
        """Forget what was written since."""
        del self.lines[state.lines :]
        self._after_block, self._in_list, self._moved = state.after_block, state.in_list, state.moved
        self._bounds = copy(state.bounds)

    def to_markdown(self) -> str:
        """All lines."""
        # To some renderers a first line of dashes starts metadata, whose end they search in code blocks too.
        first = "***" if self.lines and self.lines[0].startswith("---") else None
        return "\n".join([first, *self.lines[1:]] if first else self.lines)

    def add_block(self, block: list[str], *, moved: int) -> None:
        """Write lines unindented, between blank lines; moved is the column they come from."""
        if self.lines and self.lines[-1]:
            self.lines.append("")
        self.lines += block
        self._after_block = True
        self._moved = moved
        self._in_list = moved > 0

    def add_formula(self, tex: str, *, moved: int) -> None:
        """Write a display formula; as code if it is too large to be drawn."""
        if is_drawable(tex) and not self._bounds.exceeded_by_formula(tex):
            self.add_block(["$$", *sanitize_tex(tex).split("\n"), "$$"], moved=moved)
        else:
            self.add_block(_fenced(tex.split("\n"), "tex"), moved=moved)

    def add_prose(self, line: str) -> None:
        """Write one line of prose, sanitized."""
        is_exceeded = self._bounds.exceeded_by(line)
        if not line.strip():
            self._after_block = False
            self.lines.append("")
            return
        if indent(line) < self._moved:
            self._moved = 0
        if _LIST_ITEM.match(line):
            self._in_list = True
        elif not indent(line) and self.lines and not self.lines[-1]:
            self._in_list = False
        if self._after_block or is_exceeded:
            self.lines.append("")
        if is_exceeded:
            self.lines.append(to_plain_line(line))
            return
        written = sanitize_line(bound_nesting(dedent(line, self._moved)))
        self.lines.append(written[0])
        self._after_block = len(written) > 1

    @property
    def starts_paragraph(self) -> bool:
        """Whether the next line is the first one of its paragraph."""
        return not self.lines or not self.lines[-1] or self._after_block

    def starts_indented_code(self, line: str) -> bool:
        """Whether the line is code because of its indentation."""
        return self.starts_paragraph and not self._in_list and indent(line) >= _CODE_INDENT and bool(line.strip())


def _write_block(lines: list[str], position: int, page: _Page) -> int:
    """Write the block at the position; return the position after it."""
    line = bound_indentation(lines[position])
    if fence := _FENCE.match(line):
        return _write_fence(lines, position, fence, page)
    if page.starts_indented_code(line):
        return _write_indented(lines, position, page)
    if display := find_display(line, lines, position, is_growing=page.is_growing):
        return position + _write_display(display, page)
    joined = join_wrapped(line, lines, position, is_growing=page.is_growing)
    line, end = (line, position + 1) if joined is None else (joined, position + 2)
    is_open = page.is_growing and end == len(lines)
    for shown in complete_line(line, is_first=page.starts_paragraph) if is_open else [line]:
        page.add_prose(shown)
    return end


def _write_display(display: Display, page: _Page) -> int:
    if display.before:
        page.add_prose(display.before)
    if display.tex:
        page.add_formula(display.tex, moved=display.column)
    if display.after:
        page.add_prose(" " * display.column + display.after)
    return display.lines


def _write_fence(lines: list[str], position: int, fence: re.Match[str], page: _Page) -> int:
    quotes, column = lead_of(fence)
    code: list[str] = []
    end = position + 1
    while end < len(lines) and (line := unquoted(lines[end], quotes)) is not None:
        end += 1
        if _closes(line, fence["fence"]) and indent(line) < column + _CODE_INDENT:
            break
        code.append(dedent(line, column))
    page.add_block(_fenced(code, fence["info"]), moved=column)
    return end


def _closes(line: str, fence: str) -> bool:
    run = line.strip(" \t")
    return len(run) >= len(fence) and not run.strip(fence[0])


def _write_indented(lines: list[str], position: int, page: _Page) -> int:
    end = position
    while end < len(lines) and (not lines[end].strip() or indent(lines[end]) >= _CODE_INDENT):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    page.add_block(_fenced([dedent(line, _CODE_INDENT) for line in lines[position:end]], ""), moved=0)
    return end


def _fenced(code: list[str], info: str) -> list[str]:
    longest = max((len(run) for line in code for run in _TICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    kind = _NOT_IN_INFO.sub("", (info.split() or [""])[0])
    if kind.lower() in _DIAGRAMS or kind.lower().startswith("mermaid"):
        kind = "text"
    return [fence + kind, *code, fence]
