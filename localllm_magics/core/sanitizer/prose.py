"""One line of prose, or one formula, in which no parser finds a tag, an image, a harmful link or a math command."""

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

from localllm_magics.core.sanitizer.formula import (
    ESCAPED_DOLLAR,
    is_text_in_dollars,
    is_text_in_round_brackets,
    is_text_in_square_brackets,
)
from localllm_magics.core.sanitizer.tex import COMMAND, INERT_BACKSLASH, is_drawable, sanitize_tex

# No renderer pairs it with another: not in the source, and alone in its element not in the page either.
DOLLAR = "<span>&#36;</span>"

# Elements that only change how text looks, and those that are shown as another. Control characters, which the text has
# none of, stand for the brackets of a tag until it is known whether it has a partner in its line.
_STYLES = "b code del em i ins kbd mark s small strike strong sub sup u"
_SHOWN_AS = {"summary": "b", "strike": "s"}
_STYLE_TAG = re.compile("\x01(/?)([a-z]+)\x02")
_FOLD = r"(?:</?details(?: open)?>[ \t]*)+"
_FOLDS = re.compile(rf"\A(?P<lead>[ \t>]*(?:[-*+][ \t]+)?){_FOLD}|{_FOLD}\Z", re.IGNORECASE)
_ONLY_BREAKS = re.compile(r"(?P<lead>[^<&\w]*)(?P<breaks><br>(?:[ \t]|<br>)*)")

_ALLOWED_SCHEMES = frozenset(["ftp", "http", "https", "mailto", "tel"])
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

_IMAGE = rf"!\[(?P<alt>[^\[\]\n]{{0,2000}})\]\([ \t]{{0,4}}(?P<source>{_TARGET}){_TITLE}\)"
# The content of an image that is its own address.
_DATA = re.compile(r"(data:[^,;]{0,99})[;,].*", re.IGNORECASE | re.DOTALL)
_LINK = rf"\]\([ \t]{{0,4}}(?P<target>{_TARGET}){_TITLE}\)"
_HARMFUL = rf"""
    (?P<entity>&(?:\#\d+|\#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]{{1,31}});)
  | (?P<style>(?<!\\)</?(?:{"|".join(_STYLES.split())}|summary)[ \t]*/?>)
  | (?P<break>(?<!\\)<br[ \t]*/?>)
  | (?P<tag>(?:(?<!\\)\\)?<(?![ \t=\d-]))
  | (?P<reference>!(?=\[[^\[\]]{{0,2000}}\]\[))
  | (?P<image>!(?=\\*\[))
  | (?P<link>\]\()
  | (?P<definition>\]:)
  | (?P<placeholder>@\\?@)
  | (?P<attributes>\{{(?=[^{{}}]*=))
  | (?P<dollars>(?:(?<!\\)\\)?\$+)
  | (?P<runs>\\?`+|~{{3,}}|:{{3,}})
  | (?P<backslashes>(?<!\\)\\{{2,}}(?=[()\[\]]))
  | (?P<environment>\\(?=(?:begin|end)\b))
"""
_SYNTAX = re.compile(_HARMFUL, re.VERBOSE | re.IGNORECASE)
_WORD = re.compile(rf"(?P<whole_link>{_LINK}) | {_HARMFUL}", re.VERBOSE | re.IGNORECASE)
# Between two prices are words, and no sign of TeX; after $HOME, perhaps $PATH.
_NO_WORDS = r"""(?!
    (?=[^$`\\^_={}<>+/]*\$)(?:[ ]?\d[^$]*\s[A-Za-z]{2} | [^$]*?[A-Za-z]{2}[\s,.;:]+[A-Za-z]{2} | [ ][^$]*?[A-Za-z]{2})
  | \d[\d.,]*[^\w$`\\}!]{1,3}\$[\w\\(]
  | [^$`]*\]\((?:https?:|/)
  | (?-i:\{[A-Z][A-Z_\d]+\}(?![\^_$]))
  | (?-i:[A-Z][A-Z_]+\b[^$`]*\$[A-Za-z{(])
)"""
_TEX = rf"(?:[^$`]|{ESCAPED_DOLLAR})"
# After a dollar that ends no formula: a number, or another dollar, unless that one begins a formula.
_NO_END = rf"\d|\$(?![^\s$`]{_TEX}*(?<![\s\\])\$(?![\d$]))"
_PROSE = re.compile(
    rf"""
    (?P<display>\$\${_NO_WORDS}(?P<display_tex>{_TEX}+)(?<!\\)\$\$(?!\$))
  | (?P<inline>(?<!\\)\${_NO_WORDS}(?![\s$])(?P<inline_tex>{_TEX}+)(?<![\s\\])\$(?!{_NO_END}))
  | (?P<spaced>(?<!\\)\${_NO_WORDS}(?P<spaced_tex>[ ]{_TEX}+[ ])\$(?![\d$]))
  | (?P<round>(?<!\\)\\\((?P<round_tex>[^$`\\]*(?:\\[^()`][^$`\\]*)*)\\\))
  | (?P<square>(?<!\\)\\\[(?P<square_tex>[^$`\\]*(?:\\[^\[\]`][^$`\\]*)*)\\\])
  | (?P<picture>{_IMAGE})
  | (?P<whole_link>{_LINK})(?P<tail>[^ \t<]*)
  | (?P<autolink>(?<![!\]])<(?P<address>https?://[^\s<>]{{1,2000}})>)(?P<autolink_tail>[^ \t<]*)
  | (?P<url>{_URL}[^ \t<]*)
  | {_HARMFUL}
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Most lines have no start of any of the patterns.
_HAS_SYNTAX = re.compile(r"[]<&!@{`~$\\]|:::|://|www\.", re.IGNORECASE)
_ESCAPED_TICKS = re.compile(r"(?<!\\)(?P<backslashes>\\*)(?P<ticks>`+)")
# A renderer may parse these even in backticks, where it pairs one of the backticks with another.
_NOT_IN_TICKS = re.compile(r"[<$|\\&]|@@|!\[|\][(:]|://|www\.|:::|~~~", re.IGNORECASE)
_NOT_PLAIN = re.compile(r"[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]")


def sanitize_line(line: str) -> list[str]:
    """The line with its code spans, formulas and links, and everything else escaped.

    A link definition is followed by an empty line; any other line stays one.
    """
    definition = _DEFINITION.fullmatch(line)
    if definition and (target := _target(definition["target"])) is not None:
        # A title, which would become an attribute, could stand on the next line.
        return [f"[{definition['label']}]: {target}", ""]
    return [_pair_styles("".join(_sanitize_parts(_FOLDS.sub(lambda fold: fold["lead"] or "", line))))]


def to_plain_line(line: str) -> str:
    """The line as nothing but characters, none of which starts a formula in the page."""
    return _to_entities(line.strip()).replace("&#36;", DOLLAR).replace("&#92;", "<span>&#92;</span>")


def _pair_styles(written: str) -> str:
    """The line with the tags that have a partner in it; the others are text."""
    if "\x01" in written:
        partners = _partners(written)
        written = _STYLE_TAG.sub(lambda tag: partners.get(tag.start()) or f"&lt;{tag[1]}{tag[2]}>", written)
    # On a line of its own, a tag would start a block in which no Markdown is read.
    only_breaks = _ONLY_BREAKS.fullmatch(written)
    return f"{only_breaks['lead']}&nbsp;{only_breaks['breaks']}" if only_breaks else written


def _partners(written: str) -> dict[int, str]:
    """The tags to write, by the positions of the marks that stand for them."""
    partners: dict[int, str] = {}
    is_open: dict[str, list[int]] = {}
    for tag in _STYLE_TAG.finditer(written):
        starts = is_open.setdefault(tag[2], [])
        if not tag[1]:
            starts.append(tag.start())
        elif starts:
            name = _SHOWN_AS.get(tag[2], tag[2])
            partners |= {starts.pop(): f"<{name}>", tag.start(): f"</{name}>"}
    return partners


def _sanitize_parts(line: str) -> list[str]:
    parts: list[str] = []
    position = 0
    for start, end, width in code_spans(line):
        prose = line[position:start].rstrip("\\")
        parts.append(_sanitize_prose(prose))
        # Renderers disagree on whether an escaped backslash escapes the backtick after it.
        parts.append("&#92;" * ((start - position - len(prose)) // 2))
        # A renderer that links bare addresses takes a backtick for a part of one.
        last_word = prose[max(map(prose.rfind, " \t<")) + 1 :]
        parts.append(" " if _URL_START.search(last_word) else "")
        parts.append(_sanitize_code(line[start + width : end - width]))
        position = end
    return [*parts, _sanitize_prose(line[position:])]


def code_spans(line: str) -> list[tuple[int, int, int]]:
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


def _sanitize_code(code: str) -> str:
    if code.strip() and code.startswith(" ") and code.endswith(" "):
        code = code[1:-1]
    if "`" not in code and not _NOT_IN_TICKS.search(code):
        return f"`{code}`"
    return f"<code>{_to_entities(code)}</code>"


def _sanitize_prose(prose: str) -> str:
    if not _HAS_SYNTAX.search(prose):
        return prose
    prose = COMMAND.sub(INERT_BACKSLASH, prose)
    written: list[str] = []
    position = 0
    while found := _PROSE.search(prose, position):
        written.append(prose[position : found.start()])
        position = found.end()
        if _is_text(found):
            # Only its opening: what follows may end with the opening of a formula.
            position = found.start() + (1 if found.lastgroup in {"inline", "spaced"} else 2)
            written.append(_SYNTAX.sub(_replacement, prose[found.start() : position]))
        else:
            written.append(_replacement(found))
    return "".join([*written, prose[position:]])


def _sanitize_word(word: str) -> str:
    """A word that contains a URL, which some renderers link up to the next blank."""
    return _WORD.sub(_replacement, _NOT_IN_WORD.sub(_percent_encoded, word))


def _replacement(found: re.Match[str]) -> str:
    return _REPLACEMENTS[found.lastgroup or ""](found)


def _is_text(found: re.Match[str]) -> bool:
    """Whether it looks like a formula, but is none."""
    kind, text = found.lastgroup or "", found.string
    if kind == "round":
        return is_text_in_round_brackets(found["round_tex"], text[max(0, found.start() - 1) : found.start()])
    if kind == "square":
        return is_text_in_square_brackets(found["square_tex"], text[found.end() : found.end() + 1])
    return kind in {"display", "inline", "spaced"} and is_text_in_dollars(found, found[f"{kind}_tex"])


def _inline_formula(found: re.Match[str]) -> str:
    kind = found.lastgroup
    tex = found[f"{kind}_tex"] if kind == "spaced" else found[f"{kind}_tex"].strip()
    if not tex.strip() or not is_drawable(tex):
        return to_plain_line(found[0])
    # Two dollars in a row would start another kind of formula.
    before = " " if found.string.endswith("$", 0, found.start()) else ""
    after = " " if found.string.startswith(("$", "\\"), found.end()) else ""
    # Nor may an escaped one stand beside the last.
    last = "{}" if tex.endswith("$") else ""
    return f"{before}${sanitize_tex(tex)}{last}${after}"


def _link(found: re.Match[str]) -> str:
    target = _target(found["target"])
    if target is not None:
        return f"]({target})"
    return rf"]\({_SYNTAX.sub(_replacement, _NOT_IN_WORD.sub(_percent_encoded, found['whole_link'][2:]))}"


def _picture(found: re.Match[str]) -> str:
    """The text and the address of an image, which is not loaded."""
    source = _DATA.sub(r"\1,…", found["source"].removeprefix("<").removesuffix(">"))
    alt = _SYNTAX.sub(_replacement, found["alt"]).strip()
    return f"{alt} ({_sanitize_word(source)})" if alt else f"({_sanitize_word(source)})"


def _style(found: re.Match[str]) -> str:
    name = found[0].strip("<> \t/").lower()
    return f"\x01{'/' * found[0].startswith('</')}{name}\x02"


def _autolink(found: re.Match[str]) -> str:
    target = _target(found["address"])
    return f"[{target}]({target}){_sanitize_word(found['autolink_tail'])}"


def _target(written: str) -> str | None:
    """The target of a link, percent-encoded; None if its scheme is not allowed."""
    target = html.unescape(_MARKDOWN_ESCAPE.sub(r"\1", written.removeprefix("<").removesuffix(">")))
    scheme = _SCHEME.match(target)
    if scheme and scheme[1].lower() not in _ALLOWED_SCHEMES:
        return None
    return _NOT_IN_TARGET.sub(_percent_encoded, target).replace("&", "&amp;")


def _entity(found: re.Match[str]) -> str:
    decoded = html.unescape(found[0])
    if decoded == "$":
        return DOLLAR
    return f"&amp;{found[0][1:]}" if any(map(_must_not_be_decoded, decoded)) else found[0]


def _must_not_be_decoded(char: str) -> bool:
    """Whether the character would complete a math command, or is invisible, which `strip_control` drops."""
    return char in "\\$@" or (char.isascii() and char.isalnum()) or unicodedata.category(char) in {"Cc", "Cf", "Cs"}


def _percent_encoded(found: re.Match[str]) -> str:
    # quote() leaves a tilde as it is.
    return quote(found[0], safe="").replace("~", "%7E")


def _to_entities(text: str) -> str:
    return _NOT_PLAIN.sub(lambda found: f"&#{ord(found[0])};", text)


_REPLACEMENTS: dict[str, Callable[[re.Match[str]], str]] = {
    "display": _inline_formula,
    "inline": _inline_formula,
    "spaced": _inline_formula,
    "round": _inline_formula,
    "square": _inline_formula,
    "picture": _picture,
    "whole_link": _link,
    "tail": lambda found: _link(found) + _sanitize_word(found["tail"]),
    "autolink_tail": _autolink,
    "url": lambda found: _sanitize_word(found[0]),
    "entity": _entity,
    "style": _style,
    "break": lambda _: "<br>",
    "tag": lambda _: "&lt;",
    "dollars": lambda found: DOLLAR * found[0].count("$"),
    "reference": lambda _: "",
    # Not a backslash: marked removes those before brackets in the text of a link, and then parses it again.
    "image": lambda _: "&#33;",
    "link": lambda _: r"]\(",
    "attributes": lambda _: "&#123;",
    "placeholder": lambda _: "@&#64;",
    "definition": lambda _: "]&#58;",
    "runs": lambda found: _to_entities(found[0].removeprefix("\\")),
    "backslashes": lambda found: "&#92;" * (len(found[0]) // 2),
    "environment": lambda _: INERT_BACKSLASH,
}
