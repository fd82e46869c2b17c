"""The last line of an answer that still grows, completed for the look: what is open is closed, half a mark waits."""

import re

from localllm_magics.core.sanitizer.prose import code_spans
from localllm_magics.core.sanitizer.tex import complete_tex

# It may become another mark, or turn the line before it into a heading.
_HALF_A_MARK = re.compile(r"[-*+=#~`|:_<\\ \t]*|\$\$?|\d{1,9}[.)]")
_LONGEST = 4_000  # characters of a line that is searched for what is open
_TABLE_HEAD = re.compile(r"[ \t>]*\|.*[^|\s].*")
_HALF_A_LINK = re.compile(r"!?\[(?P<label>[^\[\]]*)\]\([^()\s]*(?:\([^()\s]*)?\Z|<[/A-Za-z]*\Z|!?\[\Z")
_OPEN_FORMULA = re.compile(r"(?<!\\)(?P<opening>\\[(\[]|\$(?=[A-Za-z\\({|-][^$]*[\\^_={]))(?P<tex>[^$]*)\Z")
_CLOSINGS = {r"\(": r"\)", r"\[": r"\]", "$": "$"}
_FORMULA = re.compile(r"(?<!\\)(?:\$[^\s$][^$]*\$|\\\([^$]*?\\\)|\\\[[^$]*?\\\])")
_OPEN_CODE = re.compile(r"(?<![\\`])(?P<ticks>`+)(?P<code>.*)\Z")
_OPENING_STRONG = re.compile(r"(?<![\w*])\*\*\Z")
_STRONG = re.compile(r"(?<![\w*\\])\*\*(?=[^\s*])|(?<=[^\s*\\])\*\*(?![\w*])")


def without_half_a_mark(lines: list[str]) -> list[str]:
    """The lines without a last one that has no words yet."""
    return lines[:-1] if len(lines) > 1 and _HALF_A_MARK.fullmatch(lines[-1].strip("> \t")) else lines


def complete_line(line: str, *, is_first: bool) -> list[str]:
    """The last line, as the lines to show for it; is_first says that it starts a paragraph."""
    if is_first and _TABLE_HEAD.fullmatch(line):
        cells = line.strip().strip(">| \t").count("|") + 1
        return [line, line[: line.index("|")] + "|---" * cells + "|"]
    return [_complete_inline(line) if len(line) <= _LONGEST else line]


def _complete_inline(line: str) -> str:
    spans = code_spans(line)
    position = spans[-1][1] if spans else 0
    finished, rest = line[:position], line[position:]
    if ticks := _OPEN_CODE.search(rest):
        code = ticks["code"].rstrip("`")
        return finished + rest[: ticks.start()] + (ticks["ticks"] + code + ticks["ticks"]) * bool(code.strip())
    formulas = [found.end() for found in _FORMULA.finditer(rest)]
    after = formulas[-1] if formulas else 0
    if formula := _OPEN_FORMULA.search(rest, after):
        tex = complete_tex(formula["tex"])
        closed = f"{formula['opening']}{tex}{_CLOSINGS[formula['opening']]}" if tex else ""
        return finished + rest[: formula.start()] + closed
    return _close_strong(_HALF_A_LINK.sub(lambda link: link["label"] or "", line).rstrip("\\"))


def _close_strong(line: str) -> str:
    """The line with the end of a strong emphasis that has none."""
    if len(_STRONG.findall(line)) % 2 == 0:
        return line[:-2] if _OPENING_STRONG.search(line) else line
    return f"{line.rstrip(' *')}**"
