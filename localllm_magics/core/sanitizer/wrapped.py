"""A formula within a paragraph that goes on in the next line, which this module joins to the one before."""

import re

from localllm_magics.core.sanitizer.formula import ESCAPED_DOLLAR, has_words
from localllm_magics.core.sanitizer.lines import LEAD, lead_of, unquoted

_START = re.compile(LEAD + r"(?![#|])")
_ROUND = r"[^$`\\]*(?:\\[^()`][^$`\\]*)*"
_DOLLAR = rf"(?:[^$`]|{ESCAPED_DOLLAR})*"
_OPEN = re.compile(
    rf"(?<!\\)\\\((?P<round>{_ROUND})\Z | (?<![\w$\\])\$(?=[^\s\d$`])(?P<dollar>{_DOLLAR})(?<!\\)\Z", re.VERBOSE
)
_CLOSED = {
    "round": re.compile(rf"(?P<tex>{_ROUND})\\\)"),
    "dollar": re.compile(rf"(?P<tex>{_DOLLAR})(?<![\s\\])\$(?![\w$])"),
}
_ENDS = re.compile(r"(?<!\\)\$|`|\\[()]")
_IS_BLOCK = re.compile(r"[-*+]\s|[>|#~]|\d{1,9}[.)]\s")
_DOLLARS = re.compile(r"(?<!\\)\$")
_DISPLAY = re.compile(r"\$\$|\\\[")


def join_wrapped(line: str, lines: list[str], position: int, *, is_growing: bool) -> str | None:
    """LINE, the one at the position, and the next one, if a formula goes on in it; if the text grows, it may."""
    start, formula = _START.match(line), _OPEN.search(line)
    if not start or not formula or " | " in line:
        return None
    following = _following(lines[position + 1 : position + 2], lead_of(start)[0])
    may_go_on = is_growing and position + 2 == len(lines) and not _ENDS.search(following)
    return (
        f"{line.rstrip()} {following}" if following and (may_go_on or _is_wrapped(line, formula, following)) else None
    )


def _following(lines: list[str], quotes: int) -> str:
    """The next line of the same paragraph, if there is one."""
    line = (unquoted(lines[0], quotes) or "").strip() if lines else ""
    return "" if _IS_BLOCK.match(line) or _DISPLAY.search(line) else line


def _is_wrapped(line: str, formula: re.Match[str], following: str) -> bool:
    kind = formula.lastgroup or ""
    rest = _CLOSED[kind].match(following)
    is_alone = kind == "round" or len(_DOLLARS.findall(line)) % 2
    return bool(rest and is_alone) and not has_words(f"{formula[kind]} {rest['tex'] if rest else ''}")
