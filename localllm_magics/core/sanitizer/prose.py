"""One line of prose, or one formula, in which no reading finds a tag, an image, a harmful link or a math command."""

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

# Commands that load, run or style, in MathJax, KaTeX or LaTeX, and those that can give them another name.
_COMMANDS = """
    DeclareMathOperator DeclarePairedDelimiters action bbox catcode char class cssId csname def documentclass edef
    endcsname expandafter futurelet gdef global href htmlClass htmlData htmlId htmlStyle immediate include
    includegraphics input let mathchardef mathtip mmlToken newcommand newenvironment newread newwrite openin openout
    providecommand read renewcommand renewenvironment require special style texttip tooltip unicode url usepackage
    write xdef
"""
_COMMAND = re.compile(rf"\\(?=(?:{'|'.join(_COMMANDS.split())})(?![A-Za-z]))")
_ENVIRONMENT = re.compile(r"\\(begin|end)\b(\{[^{}]*\})?", re.IGNORECASE)
# Looks like a backslash, and is none to any TeX.
_INERT_BACKSLASH = "\uff3c"

# Where Markdown could see something of its own in a formula, a space makes no difference to TeX.
_SPACED_IN_TEX = re.compile(
    r"<(?![\s=\d-])|!(?=\\*\[)|\](?=[(:])|&(?=#?\w+;)|:(?=//|::)|(?<=www)(?=\.)|~(?=~)|@(?=@)|\\\\(?=[()\[\]])",
    re.IGNORECASE,
)
_ROW_SKIP = re.compile(r"(?<=\\\\)\[-?[\d.]+ ?[a-z]{2}\]")

_FOLLOWED = frozenset(["ftp", "http", "https", "mailto", "tel"])
_SCHEME = re.compile(r"([^/?#:]*):")
_MARKDOWN_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_NOT_IN_TARGET = re.compile(r"@@|~~+|[^\w\-.~:/?#!&+,;=%@]")
# JupyterLab writes formulas back into the finished page, into attributes too, in place of @@0@@.
_NOT_IN_WORD = re.compile(r"@@|[$\\`]")
_URL = r"(?:https?://|ftp://|www\.)"
_URL_START = re.compile(_URL, re.IGNORECASE)
_TITLE = r"""(?:[ \t]{1,4}(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \t]{0,4}"""
_TARGET = r"(?:<[^<>\n]{0,2000}>|[^\s()<>]{0,2000}(?:\([^\s()<>]{0,2000}\)[^\s()<>]{0,2000})?)"
_DEFINITION = re.compile(
    rf"[ ]{{0,3}}\[(?P<label>[^\[\]\\<>`$&!|@]{{1,99}})\]:[ \t]+(?P<target>[^\s<>]+|<[^\s<>]*>){_TITLE}$"
)

_LINK = rf"\]\([ \t]{{0,4}}(?P<target>{_TARGET}){_TITLE}\)"
_HARMFUL = r"""
    (?P<entity>&(?:\#\d+|\#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]{1,31});)
  | (?P<tag><(?![ \t=\d-]))
  | (?P<image>!(?=\\*\[))
  | (?P<link>\]\()
  | (?P<definition>\]:)
  | (?P<placeholder>@\\?@)
  | (?P<attributes>\{(?=[^{}]*=))
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
  | (?P<spaced>(?<!\\)\$(?P<spaced_tex>[ ][^$`]+[ ])\$(?![\d$]))
  | (?P<round>(?<!\\)\\\((?P<round_tex>[^$`\\]*(?:\\[^()$`][^$`\\]*)*)\\\))
  | (?P<whole_link>{_LINK})(?P<tail>[^ \t<]*)
  | (?P<autolink>(?<![!\]])<(?P<address>https?://[^\s<>]{{1,2000}})>)(?P<autolink_tail>[^ \t<]*)
  | (?P<url>{_URL}[^ \t<]*)
  | {_HARMFUL}
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Most lines have nothing that any of the patterns could begin with.
_IN_NEED = re.compile(r"[]<&!@{`~$\\]|:::|://|www\.", re.IGNORECASE)
_ESCAPED_TICKS = re.compile(r"(?<!\\)(?P<backslashes>\\*)(?P<ticks>`+)")
# In backticks a renderer may still see these, where it finds another partner for one of the backticks.
_NOT_IN_TICKS = re.compile(r"[<$|\\&]|@@|!\[|\][(:]|://|www\.|:::|~~~", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]")


def harmless_line(line: str) -> list[str]:
    """The line with its code spans, formulas and links kept and everything else made harmless.

    A link definition is followed by an empty line; any other line stays one.
    """
    definition = _DEFINITION.fullmatch(line)
    if definition and (target := _target(definition["target"])) is not None:
        # A title, which would become an attribute, could stand on the next line.
        return [f"[{definition['label']}]: {target}", ""]
    return ["".join(_harmless_parts(line))]


def harmless_tex(tex: str) -> str:
    """The formula without commands that load or run, and harmless where a renderer takes it for prose."""
    tex = _ROW_SKIP.sub("", _COMMAND.sub(_INERT_BACKSLASH, tex.replace("`", "'")))
    tex = _SPACED_IN_TEX.sub(r"\g<0> ", tex)
    is_open: dict[str, bool] = {}
    for environment in _ENVIRONMENT.finditer(tex):
        is_open[environment[2] or ""] = environment[1].lower() == "begin" or not environment[2]
    # What is open here would be closed by the next code block that mentions it.
    if any(is_open.values()):
        return _ENVIRONMENT.sub(lambda found: f"{_INERT_BACKSLASH}{found[0][1:]}", tex)
    return tex


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
    runs = [
        (run.start("ticks"), len(run["ticks"]), len(run["backslashes"]) % 2) for run in _ESCAPED_TICKS.finditer(line)
    ]
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
    if not _IN_NEED.search(prose):
        return prose
    return _PROSE.sub(_replacement, _COMMAND.sub(_INERT_BACKSLASH, prose))


def _harmless_word(word: str) -> str:
    """A word with an address in it, which is up to its next blank a link to some renderers."""
    return _WORD.sub(_replacement, _NOT_IN_WORD.sub(_percent_encoded, word))


def _replacement(found: re.Match[str]) -> str:
    return _REPLACEMENTS[found.lastgroup or ""](found)


def _inline_formula(found: re.Match[str]) -> str:
    kind = found.lastgroup
    tex = found[f"{kind}_tex"] if kind == "spaced" else found[f"{kind}_tex"].strip()
    if not tex.strip():
        return found[0].replace("$", "&#36;")
    # Two dollar signs in a row would start another kind of formula.
    before = " " if found.string.endswith("$", 0, found.start()) else ""
    after = " " if found.string.startswith(("$", "\\"), found.end()) else ""
    return f"{before}${harmless_tex(tex)}${after}"


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
    return f"&amp;{found[0][1:]}" if any(map(_is_better_seen, sign)) else found[0]


def _is_better_seen(sign: str) -> bool:
    """Whether the sign would complete a math command, or is invisible and was dropped for that."""
    return sign in "\\$@" or (sign.isascii() and sign.isalnum()) or unicodedata.category(sign) in {"Cc", "Cf", "Cs"}


def _percent_encoded(found: re.Match[str]) -> str:
    # quote() leaves a tilde as it is.
    return quote(found[0], safe="").replace("~", "%7E")


def _spelled_out(text: str) -> str:
    return _NOT_PLAIN.sub(lambda sign: f"&#{ord(sign[0])};", text)


_REPLACEMENTS: dict[str, Callable[[re.Match[str]], str]] = {
    "display": _inline_formula,
    "inline": _inline_formula,
    "spaced": _inline_formula,
    "round": _inline_formula,
    "whole_link": _link,
    "tail": lambda found: _link(found) + _harmless_word(found["tail"]),
    "autolink_tail": _autolink,
    "url": lambda found: _harmless_word(found[0]),
    "entity": _entity,
    "tag": lambda _: "&lt;",
    # Not a backslash: marked takes those off brackets in the text of a link, and then looks again.
    "image": lambda _: "&#33;",
    "link": lambda _: r"]\(",
    "attributes": lambda _: "&#123;",
    "placeholder": lambda _: "@&#64;",
    "definition": lambda _: "]&#58;",
    "spelled": lambda found: _spelled_out(found[0].removeprefix("\\")),
    "backslashes": lambda found: "&#92;" * (len(found[0]) // 2),
    "environment": lambda _: _INERT_BACKSLASH,
}
