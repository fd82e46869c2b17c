r"""A model's answer as Markdown that every renderer reads alike and that brings nothing to life.

JupyterLab takes math out before it reads Markdown, nbconvert looks for math across the whole page, tables are cut
before code spans are found: what is code to one renderer is prose to another. So nothing here relies on one reading:

- Fenced blocks and display math are moved to the margin, between blank lines, where no renderer misses them.
- Everything else is made harmless character by character, wherever it stands: in no reading is there a tag, an
  image, a link target, a math command or a fence that has not been written by this module.
"""

import re

from localllm_magics.core.sanitizer.prose import harmless_line, harmless_tex

_ESCAPE_SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]"
# Control characters, the marks that reverse the order of what is read, and halves of characters.
_INVISIBLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_CONTROL = re.compile(rf"{_ESCAPE_SEQUENCE}|{_INVISIBLE}")
# JavaScript's regular expressions, and so JupyterLab, end a line at the last two.
_LINE_END = re.compile("\r\n?|[\u2028\u2029]")

_LEAD = r"(?P<lead>(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))*[ \t]*)"
_FENCE = re.compile(_LEAD + r"(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")
_DISPLAY = re.compile(_LEAD + r"(?P<opening>\$\$|\\\[|(?=\\begin\{(?P<name>[A-Za-z]+\*?)\}))(?P<rest>.*)")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
# Neither a formula nor its search goes on for longer: with no end in sight each opening costs the same.
_MAX_FORMULA_LINES = 60
_CODE_MARGIN = 4

# Kinds of code that some renderer draws instead of showing.
_DRAWN = frozenset("abc dot geojson graphviz math plantuml puml stl svgbob topojson vega vega-lite wavedrom".split())
_NOT_IN_INFO = re.compile(r"[^A-Za-z0-9_+#.-]")
_TICKS = re.compile("`+")


def to_safe_markdown(text: str) -> str:
    """The text as Markdown in which nothing can load, run, or leave its place, whoever renders it."""
    lines = strip_control(text).split("\n")
    page = _Page()
    position = 0
    while position < len(lines):
        position = _take(lines, position, page)
    # Some renderers take a first line of dashes for the start of metadata, and look for its end in code blocks too.
    if page.lines[0].startswith("---"):
        page.lines[0] = "***"
    return "\n".join(page.lines)


def strip_control(text: str) -> str:
    """The text without terminal sequences, control characters and marks that reverse the reading order."""
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


class _Page:
    """The lines written so far, and where among lists the next one stands."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._after_block = False
        self._in_list = False
        # A block that was moved out of a list item takes the rest of the item along, by as many columns.
        self._moved = 0

    def add_block(self, block: list[str], *, moved: int) -> None:
        """Write lines at the margin, between blank lines; moved is the column they come from."""
        if self.lines and self.lines[-1]:
            self.lines.append("")
        self.lines += block
        self._after_block = True
        self._moved = moved
        self._in_list = moved > 0

    def add_prose(self, line: str) -> None:
        """Write one line of prose, made harmless."""
        if not line.strip():
            self._after_block = False
            self.lines.append("")
            return
        if _margin(line) < self._moved:
            self._moved = 0
        if _LIST_ITEM.match(line):
            self._in_list = True
        elif not _margin(line) and self.lines and not self.lines[-1]:
            self._in_list = False
        if self._after_block:
            self.lines.append("")
        written = harmless_line(_without_margin(line, self._moved))
        self.lines.append(written[0])
        self._after_block = len(written) > 1

    def starts_indented_code(self, line: str) -> bool:
        """Whether the line is code only because it is indented."""
        after_blank = not self.lines or not self.lines[-1] or self._after_block
        return after_blank and not self._in_list and _margin(line) >= _CODE_MARGIN and bool(line.strip())


def _take(lines: list[str], position: int, page: _Page) -> int:
    """Write what starts at the position; the position of what follows."""
    line = lines[position]
    if fence := _FENCE.match(line):
        return _take_fence(lines, position, fence, page)
    if page.starts_indented_code(line):
        return _take_indented(lines, position, page)
    if (display := _DISPLAY.match(line)) and (formula := _formula(lines, position, display)):
        tex, length = formula
        page.add_block(["$$", *tex.split("\n"), "$$"], moved=_lead_of(display)[1])
        return position + length
    page.add_prose(line)
    return position + 1


def _take_fence(lines: list[str], position: int, fence: re.Match[str], page: _Page) -> int:
    quotes, column = _lead_of(fence)
    code: list[str] = []
    for number in range(position + 1, len(lines)):
        line = _unquoted(lines[number], quotes)
        if line is None:
            end = number
            break
        if _closes(line, fence["fence"]) and _margin(line) < column + _CODE_MARGIN:
            end = number + 1
            break
        code.append(_without_margin(line, column))
    else:
        end = len(lines)
    page.add_block(_fenced(code, fence["info"]), moved=column)
    return end


def _closes(line: str, fence: str) -> bool:
    run = line.strip(" \t")
    return len(run) >= len(fence) and not run.strip(fence[0])


def _take_indented(lines: list[str], position: int, page: _Page) -> int:
    end = position
    while end < len(lines) and (not lines[end].strip() or _margin(lines[end]) >= _CODE_MARGIN):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    page.add_block(_fenced([_without_margin(line, _CODE_MARGIN) for line in lines[position:end]], ""), moved=0)
    return end


def _fenced(code: list[str], info: str) -> list[str]:
    longest = max((len(run) for line in code for run in _TICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    kind = _NOT_IN_INFO.sub("", (info.split() or [""])[0])
    if kind.lower() in _DRAWN or kind.lower().startswith("mermaid"):
        kind = "text"
    return [fence + kind, *code, fence]


def _formula(lines: list[str], position: int, display: re.Match[str]) -> tuple[str, int] | None:
    """The TeX of the display math that starts at the position, and how many lines it takes."""
    name = display["name"]
    opening = rf"\begin{{{name}}}" if name else display["opening"]
    closing = rf"\end{{{name}}}" if name else opening.replace("[", "]")
    quotes, _ = _lead_of(display)
    tex = [display["rest"].strip()]
    for line in lines[position + 1 : position + _MAX_FORMULA_LINES]:
        if tex[-1].endswith(closing):
            break
        part = (_unquoted(line, quotes) or "").strip()
        if not part or (part.startswith(opening) and part != closing):
            return None
        tex.append(part)
    body = "\n".join(tex)
    content = body.removesuffix("" if name else closing).strip()
    if not body.endswith(closing) or not content or "$" in content or "`" in content:
        return None
    return harmless_tex(content), len(tex)


def _lead_of(block: re.Match[str]) -> tuple[int, int]:
    """How many block quotes a block stands in, and at which column of the innermost."""
    *quotes, margin = block["lead"].split(">")
    return len(quotes), len(margin.removeprefix(" ") if quotes else margin)


def _unquoted(line: str, quotes: int) -> str | None:
    """The line without its quote marks, or nothing where the quote has ended."""
    for _ in range(quotes):
        stripped = line.lstrip(" \t")
        if not stripped.startswith(">"):
            return None
        line = stripped[1:].removeprefix(" ")
    return line


def _margin(line: str) -> int:
    return sum(4 if blank == "\t" else 1 for blank in line[: len(line) - len(line.lstrip(" \t"))])


def _without_margin(line: str, width: int) -> str:
    column = position = 0
    while column < width and line[position : position + 1] in {" ", "\t"}:
        column += 4 if line[position] == "\t" else 1
        position += 1
    return line[position:]
