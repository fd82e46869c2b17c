"""Lets lines of `%llm` end in a question mark, which IPython would take for a call for help."""

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from localllm_magics.notebook.prompt.interpolate import names_in

_ASK = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?P<target>[^\W\d][\w.\[\]'\"]*)[ \t]*=[ \t]*)?"
    r"%(?P<name>llm|localllm)[ \t]+(?P<rest>ask\b.*|\S+[ \t].*\?[ \t]*)$"
)
_CELL = re.compile(r"%%(llm|localllm)(\s|$)")
_NOT_PYTHON = re.compile(r"^[ \t]*(?:[^\W\d][^'\"#=]*=[ \t]*)?[%!?]")


def rewrite_ask_lines(lines: list[str]) -> list[str]:
    """LINES of a cell with `%llm ask` as a call.

    Where its completion is not assigned, the call's value is None, so that the
    answer, which its card has shown, is not shown again as a result.
    """
    if lines and lines[0].lstrip().startswith("%%"):
        return lines
    if not any(_ASK.match(line) for line in lines) or _is_python("".join(lines)):
        return lines
    logical_lines = list(_logical_lines(lines))
    quoted = _lines_in_strings(logical_lines)
    rewritten: list[str] = []
    for parts in logical_lines:
        rewritten += parts if len(rewritten) in quoted else _rewrite(parts)
    return rewritten


def keep_empty_cells(lines: list[str]) -> list[str]:
    """LINES, and below `%%llm` alone an empty one, so that the magic runs and says what is missing."""
    return [*lines, "\n"] if len(lines) == 1 and _CELL.match(lines[0]) else lines


keep_empty_cells.has_side_effects = True  # type: ignore[attr-defined] # for IPython: not while a cell is being typed


def _logical_lines(lines: Iterable[str]) -> Iterator[list[str]]:
    """LINES, each with those that it goes on in: a magic's do after a backslash, as in IPython."""
    parts: list[str] = []
    for line in lines:
        parts.append(line)
        if not (_NOT_PYTHON.match(parts[0]) and line.endswith(("\\\n", "\\\r\n"))):
            yield parts
            parts = []
    if parts:
        yield parts


def _rewrite(parts: list[str]) -> list[str]:
    """The line that PARTS make as a call; empty lines stand for the further ones, so that no number changes."""
    *begun, last = (part.rstrip() if number == 0 else part.strip() for number, part in enumerate(parts))
    match = _ASK.match(" ".join([*(part[:-1].rstrip() for part in begun), last]))
    if match is None:
        return parts
    call = f"get_ipython().run_line_magic({match['name']!r}, {match['rest']!r})"
    names = names_in(match["rest"]) if match["indent"] else ()
    if names:  # a function keeps a variable of the one around it only where its code has the name
        call = f"({call}, lambda: ({', '.join(names)},))[0]"
    statement = f"{match['target']} = {call}" if match["target"] else f"{call} and None"
    return [f"{match['indent']}{statement}\n", *["\n"] * len(begun)]


def _is_python(cell: str) -> bool:
    """Whether CELL is Python already: a line like a magic is in a string then."""
    try:
        ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _lines_in_strings(logical_lines: Iterable[Sequence[str]]) -> set[int]:
    """Numbers of the lines that begin inside a string; what is no Python is left out of the search for quotes."""
    python = iter(
        line
        for parts in logical_lines
        for line in (["pass\n", *["\n"] * (len(parts) - 1)] if _NOT_PYTHON.match(parts[0]) else parts)
    )
    numbers: set[int] = set()
    try:
        for token in tokenize.generate_tokens(lambda: next(python, "")):
            numbers.update(range(token.start[0], token.end[0]))
    except (tokenize.TokenError, SyntaxError):
        return numbers  # an unfinished cell; what comes before its end was read
    return numbers
