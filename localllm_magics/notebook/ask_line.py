"""Lets `%llm ask` lines end in a question mark, which IPython would take for a call for help."""

import ast
import re
import tokenize
from collections.abc import Sequence

_ASK = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?P<target>[^\W\d][\w.\[\]'\"]*)[ \t]*=[ \t]*)?"
    r"%(?P<name>llm|localllm)[ \t]+(?P<rest>ask\b.*)$"
)
_NO_PYTHON = re.compile(r"^[ \t]*(?:[^\W\d][^'\"#=]*=[ \t]*)?[%!?]")


def rewrite_ask_lines(lines: list[str]) -> list[str]:
    """LINES of a cell with `%llm ask` as a call.

    Where its completion is not assigned, the call's value is None, so that the
    answer, which its card has shown, is not shown again as a result.
    """
    if lines and lines[0].lstrip().startswith("%%"):
        return lines
    if not any(_ASK.match(line) for line in lines) or _is_python("".join(lines)):
        return lines
    quoted = _lines_in_strings(lines)
    return [line if number in quoted else _rewrite(line) for number, line in enumerate(lines)]


def _rewrite(line: str) -> str:
    match = _ASK.match(line.rstrip("\n"))
    if match is None or match["rest"].endswith("\\"):
        return line  # IPython joins it with the next one
    call = f"get_ipython().run_line_magic({match['name']!r}, {match['rest']!r})"
    statement = f"{match['target']} = {call}" if match["target"] else f"{call} and None"
    return f"{match['indent']}{statement}\n"


def _is_python(cell: str) -> bool:
    """Whether CELL is Python already, so that what looks like a magic stands in a string."""
    try:
        ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _lines_in_strings(lines: Sequence[str]) -> set[int]:
    """Numbers of the lines that begin inside a string; what is no Python is left out of the search for quotes."""
    python = iter(["pass\n" if _NO_PYTHON.match(line) else line for line in lines])
    numbers: set[int] = set()
    try:
        for token in tokenize.generate_tokens(lambda: next(python, "")):
            numbers.update(range(token.start[0], token.end[0]))
    except (tokenize.TokenError, SyntaxError):
        return numbers  # an unfinished cell; what comes before its end was read
    return numbers
