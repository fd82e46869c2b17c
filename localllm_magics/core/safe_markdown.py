r"""A model's answer as Markdown that every renderer reads alike and that brings nothing to life.

JupyterLab takes math out before it reads Markdown, nbconvert looks for math across the whole page, tables are cut
before code spans are found: what is code to one renderer is prose to another. So nothing here relies on one reading:

- Fenced blocks and display math are moved to the margin, between blank lines, where no renderer misses them.
- Everything else is made harmless character by character, wherever it stands: in no reading is there a tag, an
  image, a link target, a math command or a fence that has not been written by this module.
"""

import html
import re
from urllib.parse import quote

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

# Kinds of code that some renderer draws instead of showing.
_DRAWN = frozenset("abc dot geojson graphviz math plantuml puml stl svgbob topojson vega vega-lite wavedrom".split())
_NOT_IN_INFO = re.compile(r"[^A-Za-z0-9_+#.-]")

# Commands that load, run or style, in MathJax, KaTeX or LaTeX, and those that can give them another name.
_COMMANDS = """
    action bbox catcode char class cssId csname def documentclass edef endcsname expandafter gdef global href
    htmlClass htmlData htmlId htmlStyle immediate include includegraphics input let futurelet mathchardef mathtip mmlToken
    newcommand newenvironment newread newwrite openin openout providecommand DeclareMathOperator DeclarePairedDelimiters
    read renewcommand renewenvironment require special style texttip tooltip unicode url usepackage write xdef
"""
_COMMAND = re.compile(rf"\\(?=(?:{'|'.join(_COMMANDS.split())})(?![A-Za-z]))")
_ENVIRONMENT = re.compile(r"\\(begin|end)\b(\{[^{}]*\})?", re.IGNORECASE)
# Looks like a backslash, and is none to any TeX.
_INERT_BACKSLASH = "\uff3c"

# Where Markdown could see something of its own in a formula, a space makes no difference to TeX.
_SPACED_IN_TEX = re.compile(
    r"<(?![\s=\d-])|!(?=\[)|\](?=[(:])|&(?=#?\w+;)|:(?=//|::)|(?<=www)(?=\.)|~(?=~)|@(?=@)|\\\\(?=[()\[\]])", re.IGNORECASE
)
_ROW_SKIP = re.compile(r"(?<=\\\\)\[-?[\d.]+ ?[a-z]{2}\]")

_FOLLOWED = frozenset(["ftp", "http", "https", "mailto", "tel"])
_SCHEME = re.compile(r"([^/?#:]*):")
_MARKDOWN_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_NOT_IN_TARGET = re.compile(r"@@|[^\w\-.~:/?#!&+,;=%@]")
# JupyterLab writes formulas back into the finished page, into attributes too, in place of @@0@@.
_NOT_IN_WORD = re.compile(r"@@|[$\\`]")
_URL = r"(?:https?://|ftp://|www\.)"
_URL_START = re.compile(_URL, re.IGNORECASE)
_TITLE = r"""(?:[ \t]+(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \t]*"""
_TARGET = r"(?:<[^<>\n]{0,2000}>|[^\s()<>]{0,2000}(?:\([^\s()<>]{0,2000}\)[^\s()<>]{0,2000})?)"
_DEFINITION = re.compile(
    rf"[ ]{{0,3}}\[(?P<label>[^\[\]\\<>`$&!|@]{{1,99}})\]:[ \t]+(?P<target>[^\s<>]+|<[^\s<>]*>){_TITLE}$"
)

_LINK = rf"\]\([ \t]*(?P<target>{_TARGET}){_TITLE}\)"
_HARMFUL = r"""
    (?P<entity>&(?:\#\d+|\#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]{1,31});)
  | (?P<tag><(?![ \t=\d-]))
  | (?P<image>!\[)
  | (?P<link>\]\()
  | (?P<definition>\]:)
  | (?P<placeholder>@\\?@)
  | (?P<spelled>\\?`+|~{3,}|\\?\${2,}|:{3,})
  | (?P<backslashes>(?<!\\)\\{2,}(?=[()\[\]]))
  | (?P<environment>\\(?=(?:begin|end)\b))
"""
_SIGNS = re.compile(_HARMFUL, re.VERBOSE | re.IGNORECASE)
_WORD = re.compile(rf"(?P<whole_link>{_LINK}) | {_HARMFUL}", re.VERBOSE | re.IGNORECASE)
_PROSE = re.compile(
    rf"""
    (?P<display>\$\$(?P<display_tex>[^$`]+)\$\$(?!\$))
  | (?P<inline>(?<!\\)\$(?![\s$])(?P<inline_tex>[^$`]+)(?<![\s\\])\$(?![\d$]))
  | (?P<round>(?<!\\)\\\((?P<round_tex>[^$`\\]*(?:\\[^()$`][^$`\\]*)*)\\\))
  | (?P<whole_link>{_LINK})(?P<tail>[^ \t<]*)
  | (?P<autolink><(?P<address>https?://[^\s<>]{{1,2000}})>)(?P<autolink_tail>[^ \t<]*)
  | (?P<url>{_URL}[^ \t<]*)
  | {_HARMFUL}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TICKS = re.compile("`+")
_ESCAPED_TICKS = re.compile(r"(?<!\\)(?P<backslashes>\\*)(?P<ticks>`+)")
# In backticks a renderer may still see these, where it finds another partner for one of the backticks.
_NOT_IN_TICKS = re.compile(r"[<$|\\&]|@@|!\[|\][(:]|://|www\.|:::|~~~", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]")


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
        written = _harmless_line(_without_margin(line, self._moved))
        self.lines.append(written[0])
        self._after_block = len(written) > 1

    def starts_indented_code(self, line: str) -> bool:
        """Whether the line is code only because it is indented."""
        after_blank = not self.lines or not self.lines[-1] or self._after_block
        return after_blank and not self._in_list and _margin(line) >= 4 and bool(line.strip())  # noqa: PLR2004


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
    closing = re.compile(rf"[ \t]*{fence['fence']}{fence['fence'][0]}*[ \t]*")
    code: list[str] = []
    for number in range(position + 1, len(lines)):
        line = _unquoted(lines[number], quotes)
        if line is None:
            end = number
            break
        if closing.fullmatch(line) and _margin(line) <= column + 3:
            end = number + 1
            break
        code.append(_without_margin(line, column))
    else:
        end = len(lines)
    page.add_block(_fenced(code, fence["info"]), moved=column)
    return end


def _take_indented(lines: list[str], position: int, page: _Page) -> int:
    end = position
    while end < len(lines) and (not lines[end].strip() or _margin(lines[end]) >= 4):  # noqa: PLR2004
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    page.add_block(_fenced([_without_margin(line, 4) for line in lines[position:end]], ""), moved=0)
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
    closing = rf"\end{{{display['name']}}}" if display["name"] else {"$$": "$$", r"\[": r"\]"}[display["opening"]]
    quotes, _ = _lead_of(display)
    tex: list[str] = []
    for line in lines[position : position + _MAX_FORMULA_LINES]:
        part = ((_unquoted(line, quotes) or "") if tex else display["rest"]).strip()
        tex.append(part)
        if part.endswith(closing):
            break
        if not part and len(tex) > 1:
            return None
    else:
        return None
    body = "\n".join(tex) if display["name"] else "\n".join(tex).removesuffix(closing)
    if "$" in body or "`" in body or not body.strip():
        return None
    return _harmless_tex(body.strip()), len(tex)


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


def _harmless_line(line: str) -> list[str]:
    definition = _DEFINITION.fullmatch(line)
    if definition and (target := _target(definition["target"])) is not None:
        # A title, which would become an attribute, could stand on the next line.
        return [f"[{definition['label']}]: {target}", ""]
    return ["".join(_harmless_parts(line))]


def _harmless_parts(line: str) -> list[str]:
    parts: list[str] = []
    position = 0
    for start, end, width in _code_spans(line):
        prose = line[position:start].rstrip("\\")
        parts.append(_harmless_prose(prose))
        # Renderers disagree on whether an escaped backslash escapes the backtick after it.
        parts.append("&#92;" * ((start - position - len(prose)) // 2))
        # A renderer that links bare addresses takes a backtick for a part of one.
        last_word = prose[max(map(prose.rfind, " \t<")) + 1 :]
        parts.append(" " if _URL_START.search(last_word) else "")
        parts.append(_harmless_code(line[start + width : end - width]))
        position = end
    return [*parts, _harmless_prose(line[position:])]


def _code_spans(line: str) -> list[tuple[int, int, int]]:
    """Start, end and number of backticks of each code span, in one pass each way."""
    runs = [(run.start("ticks"), len(run["ticks"]), len(run["backslashes"]) % 2) for run in _ESCAPED_TICKS.finditer(line)]
    partners: dict[int, int] = {}
    nearest: dict[int, int] = {}
    for start, width, _ in reversed(runs):
        if width in nearest:
            partners[start] = nearest[width]
        nearest[width] = start
    spans: list[tuple[int, int, int]] = []
    position = 0
    for start, width, is_escaped in runs:
        if start >= position and start in partners and not is_escaped:
            position = partners[start] + width
            spans.append((start, position, width))
    return spans


def _harmless_code(code: str) -> str:
    if code.strip() and code.startswith(" ") and code.endswith(" "):
        code = code[1:-1]
    if "`" not in code and not _NOT_IN_TICKS.search(code):
        return f"`{code}`"
    return f"<code>{_spelled_out(code)}</code>"


def _harmless_prose(prose: str) -> str:
    return _PROSE.sub(_replacement, _COMMAND.sub(_INERT_BACKSLASH, prose))


def _harmless_tex(tex: str) -> str:
    tex = _ROW_SKIP.sub("", _COMMAND.sub(_INERT_BACKSLASH, tex.replace("`", "'")))
    tex = _SPACED_IN_TEX.sub(r"\g<0> ", tex)
    is_open: dict[str, bool] = {}
    for environment in _ENVIRONMENT.finditer(tex):
        is_open[environment[2] or ""] = environment[1].lower() == "begin" or not environment[2]
    # What is open here would be closed by the next code block that mentions it.
    if any(is_open.values()):
        return _ENVIRONMENT.sub(lambda found: f"{_INERT_BACKSLASH}{found[0][1:]}", tex)
    return tex


def _harmless_word(word: str) -> str:
    """A word with an address in it, which is up to its next blank a link to some renderers."""
    return _WORD.sub(_replacement, _NOT_IN_WORD.sub(_percent_encoded, word))


def _replacement(found: re.Match[str]) -> str:
    return _REPLACEMENTS[found.lastgroup or ""](found)


def _inline_formula(found: re.Match[str]) -> str:
    tex = found[f"{found.lastgroup}_tex"].strip()
    if not tex:
        return found[0].replace("$", "&#36;")
    # Two dollar signs in a row would start another kind of formula.
    before = found.string[max(0, found.start() - 1) : found.start()]
    after = found.string[found.end() : found.end() + 1]
    return f"{' ' * (before == '$')}${_harmless_tex(tex)}${' ' * (after in {'$', chr(92)})}"


def _link(found: re.Match[str]) -> str:
    target = _target(found["target"])
    if target is not None:
        return f"]({target})"
    return rf"]\({_SIGNS.sub(_replacement, _NOT_IN_WORD.sub(_percent_encoded, found['whole_link'][2:]))}"


def _autolink(found: re.Match[str]) -> str:
    target = _target(found["address"])
    return f"[{target}]({target}){_harmless_word(found['autolink_tail'])}"


def _target(written: str) -> str | None:
    """What a link leads to, in characters that mean the same everywhere; nothing if it is not to be followed."""
    target = html.unescape(_MARKDOWN_ESCAPE.sub(r"\1", written.removeprefix("<").removesuffix(">")))
    scheme = _SCHEME.match(target)
    if scheme and scheme[1].lower() not in _FOLLOWED:
        return None
    return _NOT_IN_TARGET.sub(_percent_encoded, target).replace("&", "&amp;")


def _entity(found: re.Match[str]) -> str:
    sign = html.unescape(found[0])
    # A letter or a backslash would complete a math command, an invisible sign was dropped for a reason.
    if _CONTROL.search(sign) or any(part in "\\$@" or (part.isascii() and part.isalnum()) for part in sign):
        return f"&amp;{found[0][1:]}"
    return found[0]


def _percent_encoded(found: re.Match[str]) -> str:
    return quote(found[0], safe="")


def _spelled_out(text: str) -> str:
    return _NOT_PLAIN.sub(lambda sign: f"&#{ord(sign[0])};", text)


_REPLACEMENTS = {
    "display": _inline_formula,
    "inline": _inline_formula,
    "round": _inline_formula,
    "whole_link": _link,
    "tail": lambda found: _link(found) + _harmless_word(found["tail"]),
    "autolink_tail": _autolink,
    "url": lambda found: _harmless_word(found[0]),
    "entity": _entity,
    "tag": lambda _: "&lt;",
    "image": lambda _: r"!\[",
    "link": lambda _: r"]\(",
    "placeholder": lambda _: "@&#64;",
    "definition": lambda _: "]&#58;",
    "spelled": lambda found: _spelled_out(found[0].removeprefix("\\")),
    "backslashes": lambda found: "&#92;" * (len(found[0]) // 2),
    "environment": lambda _: _INERT_BACKSLASH,
}
