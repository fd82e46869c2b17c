r"""A model's answer as Markdown that is safe in every renderer; the package lists the threats.

JupyterLab extracts math before it parses Markdown, nbconvert searches the whole page for math, tables are split before
code spans are found: what is code to one renderer is prose to another. So nothing here depends on one parser:

- Fenced blocks and display math are written unindented, between blank lines, where every renderer finds them.
- Everything else is escaped character by character, wherever it stands: to no parser is there a tag, an image, a link
  target, a math command or a fence that was not written by this module.
"""

import re
from collections.abc import Iterable

from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.core.sanitizer.prose import sanitize_line, sanitize_tex

_LEAD = r"(?P<lead>(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))*[ \t]*)"
_FENCE = re.compile(_LEAD + r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")
_DISPLAY = re.compile(_LEAD + r"(?P<opening>\$\$|\\\[|(?=\\begin\{(?P<name>[A-Za-z]+\*?)\}))(?P<rest>.*)")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
# The limit of a formula and of the search for its end, so that each opening without an end has the same cost.
_MAX_FORMULA_LINES = 60
_ENDS_MATH = re.compile(r"[$`]")
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
    # To some renderers a first line of dashes starts metadata, whose end they search in code blocks too.
    if page.lines[0].startswith("---"):
        page.lines[0] = "***"
    return "\n".join(page.lines)


class _Page:
    """The lines written so far, and the list that the next one belongs to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._after_block = False
        self._in_list = False
        # If a block is moved out of a list item, the rest of the item is moved by as many columns.
        self._moved = 0

    def add_block(self, block: list[str], *, moved: int) -> None:
        """Write lines unindented, between blank lines; moved is the column they come from."""
        if self.lines and self.lines[-1]:
            self.lines.append("")
        self.lines += block
        self._after_block = True
        self._moved = moved
        self._in_list = moved > 0

    def add_prose(self, line: str) -> None:
        """Write one line of prose, sanitized."""
        if not line.strip():
            self._after_block = False
            self.lines.append("")
            return
        if _indent(line) < self._moved:
            self._moved = 0
        if _LIST_ITEM.match(line):
            self._in_list = True
        elif not _indent(line) and self.lines and not self.lines[-1]:
            self._in_list = False
        if self._after_block:
            self.lines.append("")
        written = sanitize_line(_dedent(line, self._moved))
        self.lines.append(written[0])
        self._after_block = len(written) > 1

    def starts_indented_code(self, line: str) -> bool:
        """Whether the line is code because of its indentation."""
        after_blank = not self.lines or not self.lines[-1] or self._after_block
        return after_blank and not self._in_list and _indent(line) >= _CODE_INDENT and bool(line.strip())


def _write_block(lines: list[str], position: int, page: _Page) -> int:
    """Write the block at the position; return the position after it."""
    line = lines[position]
    if fence := _FENCE.match(line):
        return _write_fence(lines, position, fence, page)
    if page.starts_indented_code(line):
        return _write_indented(lines, position, page)
    if (display := _DISPLAY.match(line)) and (formula := _formula(lines, position, display)):
        tex, length = formula
        page.add_block(["$$", *tex.split("\n"), "$$"], moved=_lead_of(display)[1])
        return position + length
    page.add_prose(line)
    return position + 1


def _write_fence(lines: list[str], position: int, fence: re.Match[str], page: _Page) -> int:
    quotes, column = _lead_of(fence)
    code: list[str] = []
    end = position + 1
    while end < len(lines) and (line := _unquoted(lines[end], quotes)) is not None:
        end += 1
        if _closes(line, fence["fence"]) and _indent(line) < column + _CODE_INDENT:
            break
        code.append(_dedent(line, column))
    page.add_block(_fenced(code, fence["info"]), moved=column)
    return end


def _closes(line: str, fence: str) -> bool:
    run = line.strip(" \t")
    return len(run) >= len(fence) and not run.strip(fence[0])


def _write_indented(lines: list[str], position: int, page: _Page) -> int:
    end = position
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) >= _CODE_INDENT):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    page.add_block(_fenced([_dedent(line, _CODE_INDENT) for line in lines[position:end]], ""), moved=0)
    return end


def _fenced(code: list[str], info: str) -> list[str]:
    longest = max((len(run) for line in code for run in _TICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    kind = _NOT_IN_INFO.sub("", (info.split() or [""])[0])
    if kind.lower() in _DIAGRAMS or kind.lower().startswith("mermaid"):
        kind = "text"
    return [fence + kind, *code, fence]


def _formula(lines: list[str], position: int, display: re.Match[str]) -> tuple[str, int] | None:
    """The TeX of the display math that starts at the position, and how many lines it takes."""
    name = display["name"]
    opening = rf"\begin{{{name}}}" if name else display["opening"]
    closing = rf"\end{{{name}}}" if name else opening.replace("[", "]")
    quotes, _ = _lead_of(display)
    following = (_unquoted(line, quotes) or "" for line in lines[position + 1 : position + _MAX_FORMULA_LINES])
    tex = _until_closed(display["rest"].strip(), map(str.strip, following), opening, closing)
    body = "\n".join(tex)
    content = body.removesuffix("" if name else closing).strip()
    if not body.endswith(closing) or not content or _ENDS_MATH.search(content):
        return None
    return sanitize_tex(content), len(tex)


def _until_closed(first: str, following: Iterable[str], opening: str, closing: str) -> list[str]:
    """The lines of a formula, up to one that ends it, or before one that cannot be part of it."""
    tex = [first]
    for line in following:
        if tex[-1].endswith(closing) or not line or (line.startswith(opening) and line != closing):
            break
        tex.append(line)
    return tex


def _lead_of(block: re.Match[str]) -> tuple[int, int]:
    """How many block quotes contain a block, and its column in the innermost."""
    *quotes, margin = block["lead"].split(">")
    return len(quotes), len(margin.removeprefix(" ") if quotes else margin)


def _unquoted(line: str, quotes: int) -> str | None:
    """The line without the > of its block quotes, or None after their end."""
    for _ in range(quotes):
        stripped = line.lstrip(" \t")
        if not stripped.startswith(">"):
            return None
        line = stripped[1:].removeprefix(" ")
    return line


def _indent(line: str) -> int:
    return sum(4 if blank == "\t" else 1 for blank in line[: len(line) - len(line.lstrip(" \t"))])


def _dedent(line: str, width: int) -> str:
    column = position = 0
    while column < width and line[position : position + 1] in {" ", "\t"}:
        column += 4 if line[position] == "\t" else 1
        position += 1
    return line[position:]
