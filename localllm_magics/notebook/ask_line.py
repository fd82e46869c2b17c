"""Lets `%llm ask` lines end in a question mark, which IPython would take for a call for help."""

import ast
import re

_ASK = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?P<target>[^\W\d][\w.\[\]'\"]*)[ \t]*=[ \t]*)?%(?P<name>llm|localllm)[ \t]+(?P<rest>ask\b.*)$"
)


def rewrite_ask_lines(lines: list[str]) -> list[str]:
    """LINES of a cell with `%llm ask` as a call.

    Its completion goes to the variable it is assigned to, else to `_llm`, so
    that the answer, which its card has shown, is not shown again as a result.
    """
    if lines and lines[0].lstrip().startswith("%%"):
        return lines
    if not any(_ASK.match(line) for line in lines) or _is_python("".join(lines)):
        return lines
    return [_rewrite(line) for line in lines]


def _rewrite(line: str) -> str:
    match = _ASK.match(line.rstrip("\n"))
    if match is None:
        return line
    target = match["target"] or "_llm"
    call = f"get_ipython().run_line_magic({match['name']!r}, {match['rest']!r})"
    return f"{match['indent']}{target} = {call}\n"


def _is_python(cell: str) -> bool:
    """Whether CELL is Python already, so that what looks like a magic stands in a string."""
    try:
        ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
