"""Where in a line a block stands: behind which quote marks, and at which column."""

import re

LEAD = r"(?P<lead>(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))*[ \t]*)"


def lead_of(block: re.Match[str]) -> tuple[int, int]:
    """How many block quotes contain a block, and its column in the innermost."""
    *quotes, margin = block["lead"].split(">")
    return len(quotes), len(margin.removeprefix(" ") if quotes else margin)


def unquoted(line: str, quotes: int) -> str | None:
    """The line without the > of its block quotes, or None after their end."""
    for _ in range(quotes):
        stripped = line.lstrip(" \t")
        if not stripped.startswith(">"):
            return None
        line = stripped[1:].removeprefix(" ")
    return line


def indent(line: str) -> int:
    """The column of the first character that is no blank."""
    blanks = line[: len(line) - len(line.lstrip(" \t"))]
    return len(blanks) + 3 * blanks.count("\t")


def dedent(line: str, width: int) -> str:
    """The line without as many columns of blanks, if it has them."""
    column = position = 0
    while column < width and line[position : position + 1] in {" ", "\t"}:
        column += 4 if line[position] == "\t" else 1
        position += 1
    return line[position:]
