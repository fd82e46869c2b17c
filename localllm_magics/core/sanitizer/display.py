r"""Display formulas: `$$ … $$`, `\[ … \]` and environments, over several lines, also between words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.sanitizer.lines import LEAD, lead_of, unquoted
from localllm_magics.core.sanitizer.tex import complete_tex

_AT_START = re.compile(LEAD + r"(?P<opening>\$\$|\\\[|(?=\\begin\{(?P<name>[A-Za-z]+\*?)\}))(?P<rest>.*)")
_LEAD = re.compile(LEAD)
_ENDS_MATH = re.compile(r"[$`]")
_PUNCTUATION = re.compile(r"[.,;:]?")
# The limit of a formula and of the search for its end, so that each opening without an end has the same cost.
_MAX_LINES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """A formula, not sanitized, and what stands beside it.

    Args:
        before: The text before it in its first line.
        tex: The formula.
        after: The text after it in its last line.
        column: Its column in the innermost block quote.
        lines: How many lines it takes.
    """

    before: str
    tex: str
    after: str
    column: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    before: str
    opening: str
    closing: str
    rest: str
    lead: tuple[int, int]


def find_display(line: str, lines: list[str], position: int, *, is_growing: bool) -> Display | None:
    """The formula that starts in LINE, the one at the position; if the text grows, its end may be yet to come."""
    for start in _starts(line):
        tex, after = _until_closed(start, lines, position)
        is_open = after is None and is_growing and position + len(tex) == len(lines)
        if after is None and not is_open:
            continue
        body = "\n".join(tex).strip()
        if after is not None and _PUNCTUATION.fullmatch(after):
            body, after = body + after, ""
        if _ENDS_MATH.search(body) or not (body or is_open) or (after and not _may_go_on(start, len(tex))):
            continue
        body = complete_tex(body) if is_open else body
        return Display(before=start.before, tex=body, after=after or "", column=start.lead[1], lines=len(tex))
    return None


def _starts(line: str) -> Iterator[_Start]:
    """Where a formula may start: with the line, or after its last words."""
    if start := _AT_START.match(line):
        name = start["name"]
        closing = rf"\end{{{name}}}" if name else start["opening"].replace("[", "]")
        opening = rf"\begin{{{name}}}" if name else start["opening"]
        yield _Start(before="", opening=opening, closing=closing, rest=start["rest"].strip(), lead=lead_of(start))
    position = max(line.rfind("$$") if line.count("$$") % 2 else -1, line.rfind(r"\["))
    if position > 0 and line[position - 1] != "\\" and r"\]" not in line[position:] and "`" not in line:
        opening, rest = line[position : position + 2], line[position + 2 :].strip()
        lead = _LEAD.match(line)
        closing = opening.replace("[", "]")
        before = line[:position].rstrip()
        if lead and lead.end() < position:
            yield _Start(before=before, opening=opening, closing=closing, rest=rest, lead=lead_of(lead))


def _may_go_on(start: _Start, lines: int) -> bool:
    """Whether text may follow in the last line: a formula within one line is part of it."""
    return start.opening == r"\[" and lines > 1


def _until_closed(start: _Start, lines: list[str], position: int) -> tuple[list[str], str | None]:
    """The lines of a formula up to its end, and what follows it in the last one; None if it has no end."""
    tex: list[str] = []
    line = start.rest
    while True:
        at = line.rfind(start.closing) if start.closing.startswith(r"\end") else line.find(start.closing)
        if at >= 0:
            end = at + len(start.closing)
            inside = line[:end] if start.closing.startswith(r"\end") else line[:at]
            return [*tex, inside], line[end:].strip()
        tex.append(line)
        position += 1
        if len(tex) >= _MAX_LINES or position >= len(lines):
            return tex, None
        line = (unquoted(lines[position], start.lead[0]) or "").strip()
        if not line or (line.startswith(start.opening) and start.opening != start.closing):
            return tex, None
