"""The budgets of size and shape: small files, small functions, few exceptions to either."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "localllm_magics").rglob("*.py"))
# The only files that may catch every exception.
BOUNDARIES = {
    "engines/background.py",  # what is raised in a thread is raised again where its result is awaited
    "engines/server/connection.py",  # what is raised in the thread that connects is raised again where it is awaited
    "engines/stream.py",  # whoever waits for a worker gets a terminal event
    "notebook/ask.py",  # a cell gets its answer
    "notebook/prompt/interpolate.py",  # what a user writes between braces may raise anything
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
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
