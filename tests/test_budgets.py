"""The budgets of size and shape: small files, small functions, few exceptions to either."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "localllm_magics").rglob("*.py"))
# The only files that may catch every exception.
BOUNDARIES = {
    "engines/background.py",  # what is raised in a thread is raised again where its result is awaited
    "engines/stream.py",  # whoever waits for a worker gets a terminal event
    "notebook/ask.py",  # a cell gets its answer
    "widgets/jobs.py",  # a page that asked gets its answer
    "notebook/prompt/interpolate.py",  # what a user writes between braces may raise anything
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, Function))


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def nesting(node: ast.AST) -> int:
    """How many blocks lie in each other; `elif` is no block of its own."""
    deepest = 0
    for name, field in ast.iter_fields(node):
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST) and not isinstance(child, Function):
                is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If)
                deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def complexity(function: Function) -> int:
    """Decisions plus one, where each further operand of `and` and `or` decides too; functions inside count with it."""
    return 1 + sum(map(decisions, ast.walk(function)))


def decisions(node: ast.AST) -> int:
    match node:
        case ast.BoolOp(values=operands):
            return len(operands) - 1
        case ast.comprehension(ifs=conditions):
            return 1 + len(conditions)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0
        case ast.match_case():
            return 1
        case _:
            return isinstance(node, BRANCHES)


def unannotated(function: Function) -> list[str]:
    a = function.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    bare = [arg.arg for arg in arguments if arg.annotation is None and arg.arg not in {"self", "cls"}]
    return bare + (["return"] if function.returns is None else [])


def catches_everything(node: ast.ExceptHandler) -> bool:
    caught = set(re.findall(r"\w+", ast.unparse(node.type))) if node.type else {"BaseException"}
    is_cleanup = caught == {"BaseException"} and isinstance(node.body[-1], ast.Raise)
    return not is_cleanup and not caught.isdisjoint({"Exception", "BaseException"})


def over_budget(path: Path) -> Iterator[str]:
    """What breaks a budget in the file at PATH."""
    name, tree = path.relative_to(ROOT / "localllm_magics").as_posix(), ast.parse(path.read_text("utf-8"))
    if lines(path) > 400:
        yield f"{name} has {lines(path)} lines"
    for function in functions(path):
        where = f"{name}:{function.lineno} {function.name}"
        if length(function) > 50:
            yield f"{where} has {length(function)} lines"
        if nesting(function) > 3:
            yield f"{where} nests {nesting(function)} deep"
        if complexity(function) > 10:
            yield f"{where} has a complexity of {complexity(function)}"
        if bare := unannotated(function):
            yield f"{where} does not annotate {', '.join(bare)}"
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))
    if name not in BOUNDARIES:
        yield from (f"{name}:{node.lineno} catches everything" for node in handlers if catches_everything(node))


def test_files_keep_their_budget() -> None:
    assert [complaint for path in FILES for complaint in over_budget(path)] == []


def test_most_files_and_functions_are_small() -> None:
    lengths = [length(function) for path in FILES for function in functions(path)]

    assert median(map(lines, FILES)) <= 120
    assert quantiles(lengths, n=20)[-1] <= 30


@pytest.mark.parametrize(
    ("code", "count"),
    [
        pytest.param("pass", 1, id="nothing"),
        pytest.param("if a: pass\n elif b: pass\n else: pass", 3, id="if and elif"),
        pytest.param("while a:\n  for b in c: pass", 3, id="loops"),
        pytest.param("try: pass\n except A: pass\n except B: pass", 3, id="handlers"),
        pytest.param("return a and b and c or d", 4, id="operands"),
        pytest.param("return a if b else c", 2, id="a conditional expression"),
        pytest.param("return [a for b in c for d in b if e]", 4, id="a comprehension"),
        pytest.param("match a:\n  case 1: pass\n  case 2 if b: pass\n  case _: pass", 3, id="cases"),
        pytest.param("def g():\n  return a or b", 2, id="a function inside"),
    ],
)
def test_complexity_counts_decisions(code: str, count: int) -> None:
    (function, *_) = ast.walk(ast.parse(f"def f():\n {code}").body[0])
    assert isinstance(function, Function)

    assert complexity(function) == count


def test_no_test_file_is_longer_than_a_file_of_the_package() -> None:
    assert [path.name for path in (ROOT / "tests").rglob("*.py") if lines(path) > 400] == []
