r"""Display formulas: `$$ … $$`, `\[ … \]` and environments, over several lines, also between words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.core.sanitizer.formula import is_text_in_square_brackets
from localllm_magics.core.sanitizer.lines import LEAD, lead_of, unquoted
from localllm_magics.core.sanitizer.tex import complete_tex

_AT_START = re.compile(LEAD + r"(?P<opening>\$\$|\\\[|(?=\\begin\{(?P<name>[A-Za-z]+\*?)\}))(?P<rest>.*)")
_LEAD = re.compile(LEAD)
_ENDS_MATH = re.compile(r"(?<!(?<!\\)\\)\$|`")
# After the start of a formula in words: its end, or code. Before it: a backslash.
_NOT_BEFORE = re.compile(r"\A\\|\\\]|`")
_OPENING = re.compile(r"(?<!\\)\\\[")
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
        body = "\n".join(tex).strip()
        if after is None and is_growing and position + len(tex) == len(lines):
            body, after, is_complete = complete_tex(body), "", True
        else:
            is_complete = bool(body) and after is not None and _may_follow(after, start, tex)
        if is_complete and not _ENDS_MATH.search(body):
            return _display(start, body, after or "", len(tex))
    return None


def _display(start: _Start, tex: str, after: str, lines: int) -> Display:
    if _PUNCTUATION.fullmatch(after):
        tex, after = tex + after, ""
    return Display(before=start.before, tex=tex, after=after, column=start.lead[1], lines=lines)


def _may_follow(after: str, start: _Start, tex: list[str]) -> bool:
    """Whether the text may follow in the last line of a formula: what is within one line is not for itself."""
    is_bracket = start.opening == r"\["
    if len(tex) > 1:
        stands_alone = not start.rest and not tex[-1]
        return is_bracket or stands_alone or bool(_PUNCTUATION.fullmatch(after))
    is_note = is_bracket and bool(start.before) and is_text_in_square_brackets(tex[0], after)
    return bool(_PUNCTUATION.fullmatch(after)) and not is_note


def _starts(line: str) -> Iterator[_Start]:
    """Where a formula may start: with the line, or after its last words."""
    if start := _AT_START.match(line):
        name = start["name"]
        closing = rf"\end{{{name}}}" if name else start["opening"].replace("[", "]")
        opening = rf"\begin{{{name}}}" if name else start["opening"]
        yield _Start(before="", opening=opening, closing=closing, rest=start["rest"].strip(), lead=lead_of(start))
    position = max(line.rfind("$$") if line.count("$$") % 2 else -1, line.rfind(r"\["))
    before, opening, rest = line[:position].rstrip(), line[position : position + 2], line[position + 2 :].strip()
    lead = _LEAD.match(before)
    if position > 0 and lead and lead.end() < len(before) and not _NOT_BEFORE.search(line[position - 1 :]):
        closing = opening.replace("[", "]")
        yield _Start(before=before, opening=opening, closing=closing, rest=rest, lead=lead_of(lead))


def _until_closed(start: _Start, lines: list[str], position: int) -> tuple[list[str], str | None]:
    """The lines of a formula up to its end, and what follows it in the last one; None if it has no end."""
    within = lines[position : position + _MAX_LINES]
    # Faster than line by line, for an answer of nothing but openings.
    if position + len(within) < len(lines) and start.closing not in "\n".join(within):
        return [], None
    tex: list[str] = []
    line = start.rest
    for following in range(position + 1, position + _MAX_LINES + 1):
        inside, closing, after = _parted(line, start.closing)
        tex.append(inside)
        if closing or following == len(lines):
            return tex, after.strip() if closing else None
        line = (unquoted(lines[following], start.lead[0]) or "").strip()
        if not line or _begins_anew(line, start):
            break
    return tex, None


def _begins_anew(line: str, start: _Start) -> bool:
    """Whether a formula of the same kind begins in the line, behind bullets or words too: the first has no end."""
    if start.opening == r"\[":
        return bool(_OPENING.search(line))
    return start.opening != start.closing and _LEAD.sub("", line, count=1).startswith(start.opening)


def _parted(line: str, closing: str) -> tuple[str, str, str]:
    """What stands before the end of a formula, the end, and what stands after it; an environment keeps its end."""
    if not closing.startswith(r"\end"):
        return line.partition(closing)
    inside, end, after = line.rpartition(closing)
    return (inside + end, end, after) if end else (line, "", "")
