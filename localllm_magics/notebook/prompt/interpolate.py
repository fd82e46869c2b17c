r"""`{{ expr }}` in a prompt: found, evaluated once, and replaced by text."""

import ast
import builtins
import difflib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from traceback import walk_tb

from localllm_magics.core.errors import BadExpression, LocalLLMError
from localllm_magics.notebook.prompt.describe import describe

_OPENING = re.compile(r"\\?\{\{")
_LITERAL = r"\{{"
_ALTERNATIVES = rf"write `{_LITERAL}` for literal braces, or add `--no-vars`"
# Enough for any literal a person types; without it a stray `{{` before a page of JSON costs a parse per `}}`.
_MAX_CLOSINGS = 100
_SHOWN_WIDTH = 100
_MAX_MESSAGE = 1_000
_IPYTHON_NAMES = {"In", "Out", "exit", "get_ipython", "open", "quit"}
# Debuggers and shells add names of their own.
_BUILTINS = [name for name, value in vars(builtins).items() if getattr(value, "__module__", "") == "builtins"]


def interpolate(text: str, evaluate: Callable[[str], object]) -> str:
    r"""The prompt with every `{{ expr }}` replaced by the description of its value.

    All expressions are found before the first is evaluated, and what is inserted is never searched again.

    Args:
        text: The prompt; `\{{` stands for `{{`.
        evaluate: Evaluates one expression in the user's namespace.

    Raises:
        BadExpression: An expression is unfinished, is not Python, or raises.
    """
    pieces = list(_parse(text))
    return "".join(piece if isinstance(piece, str) else _insertion(piece, evaluate) for piece in pieces)


def names_in(text: str) -> list[str]:
    """The names in the expressions of a prompt, sorted; none of a prompt with a wrong one."""
    try:
        sources = [piece.source for piece in _parse(text) if not isinstance(piece, str)]
    except BadExpression:
        return []
    nodes = (node for source in sources for node in ast.walk(ast.parse(source, mode="eval")))
    return sorted({node.id for node in nodes if isinstance(node, ast.Name)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expression:
    source: str
    text: str
    start: int
    end: int

    def error(self, problem: str, advice: str) -> BadExpression:
        """The problem, the line of the prompt with a caret under the expression, and what to do."""
        line_start = self.text.rfind("\n", 0, self.start) + 1
        line = self.text[line_start:].split("\n", 1)[0]
        column = self.start - line_start
        # The place stays in view however long the line is, and a tab is one column wide like its caret.
        left = max(0, column - _SHOWN_WIDTH // 2)
        shown = line[left : left + _SHOWN_WIDTH].replace("\t", " ")
        carets = "^" * max(1, min(self.end - line_start, left + len(shown), len(line)) - column)
        number = self.text.count("\n", 0, self.start) + 1
        place = f"    {shown}\n    {' ' * (column - left)}{carets}"
        return BadExpression(f"line {number}, column {column + 1}: {problem}\n{place}", f"{advice}{_ALTERNATIVES}")


def _parse(text: str) -> Iterator[str | _Expression]:
    position = 0
    while opening := _OPENING.search(text, position):
        yield text[position : opening.start()]
        if opening[0] == _LITERAL:
            yield "{{"
            position = opening.end()
        else:
            expression = _expression_at(text, opening.start())
            yield expression
            position = expression.end
    yield text[position:]


def _expression_at(text: str, start: int) -> _Expression:
    """The expression whose `{{` is at start: it ends at the first `}}` that makes it valid Python."""
    first: tuple[_Expression, Exception] | None = None
    end = start + 2
    for _ in range(_MAX_CLOSINGS):
        closing = text.find("}}", end)
        if closing < 0:
            break
        found = _Expression(source=text[start + 2 : closing].strip(), text=text, start=start, end=closing + 2)
        problem = _syntax_problem(found.source)
        if problem is None:
            return found
        first = first or (found, problem)
        # One brace on, not two: in `{{ {1: {}}}}` the right `}}` overlaps a wrong one.
        end = closing + 1
    if first is None:
        opening = _Expression(source="", text=text, start=start, end=end)
        raise opening.error("{{ has no }} after it", "Close the expression with }}, ")
    raise _syntax_error(*first) from first[1]


def _syntax_problem(source: str) -> Exception | None:
    """Why the source is not an expression, or nothing."""
    with warnings.catch_warnings():
        # An invalid escape in a string is reported by the evaluation, once.
        warnings.simplefilter("ignore")
        try:
            ast.parse(source, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
            # A null byte is a ValueError, deep nesting a RecursionError or a MemoryError.
            return problem
    return None


def _syntax_error(expression: _Expression, problem: Exception) -> BadExpression:
    if not expression.source:
        return expression.error("nothing between {{ and }}", "Put a Python expression between the braces, ")
    f_string = _as_f_string(expression.source)
    if f_string:
        return expression.error("a format needs an f-string", f"Write {{{{ {f_string} }}}}, ")
    why = problem.msg if isinstance(problem, SyntaxError) else str(problem) or type(problem).__name__
    return expression.error(f"not a Python expression: {why}", "Correct the expression, ")


def _as_f_string(source: str) -> str:
    """An f-string for what an f-string could have between its braces, such as `x:.2f` and `x!r`; else nothing."""
    quote = next((mark for mark in ('"', "'") if mark not in source), '"""')
    text = f"f{quote}{{{source}}}{quote}"
    # With a blank after its colon it is JSON, or a sentence.
    return text if re.search(r"=$|[:!=]\S", source) and _syntax_problem(text) is None else ""


def _insertion(expression: _Expression, evaluate: Callable[[str], object]) -> str:
    # Both run the user's own code, so anything can come out of them; an interrupt is not theirs.
    try:
        value = evaluate(expression.source)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        raise expression.error(_to_message(problem), _hint(problem)) from problem
    try:
        return describe(value)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        message = f"the {type(value).__name__} cannot be turned into text: {_to_message(problem)}"
        raise expression.error(message, "Insert a part of it that can be printed, ") from problem


def _to_message(problem: BaseException) -> str:
    if isinstance(problem, LocalLLMError):
        return problem.message
    name = type(problem).__name__
    try:
        message = str(problem)
    except Exception:  # noqa: BLE001 - the user's exception may be broken too; its name is enough
        message = ""
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}…"
    return f"{name}: {message}" if message else name


def _hint(problem: BaseException) -> str:
    if isinstance(problem, LocalLLMError) and problem.hint:
        return f"{problem.hint}, "
    if not isinstance(problem, NameError) or not isinstance(problem.name, str) or not problem.name:
        return "Try the expression in a cell of its own, "
    nearest = [
        *difflib.get_close_matches(problem.name, _defined_names(problem), n=1),
        *difflib.get_close_matches(problem.name, _BUILTINS, n=1, cutoff=0.8),
    ]
    meant = f"Did you mean {nearest[0]}? " if nearest else ""
    return f"{meant}Define {problem.name} in a cell above, "


def _defined_names(problem: NameError) -> list[str]:
    """The user's names that were defined where the exception was raised."""
    *_, (frame, _) = walk_tb(problem.__traceback__)
    # A namespace can have keys that are no names.
    names: Iterable[object] = (*frame.f_locals, *frame.f_globals)
    return [name for name in names if isinstance(name, str) and name[:1] != "_" and name not in _IPYTHON_NAMES]
