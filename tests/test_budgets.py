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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_its_budget(path: Path) -> None:
    name = path.relative_to(ROOT / "localllm_magics").as_posix()
    handlers = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ExceptHandler))
    wide = [handler.lineno for handler in handlers if catches_everything(handler)]

    assert lines(path) <= 400
    assert {f.name: length(f) for f in functions(path) if length(f) > 50} == {}
    assert {f.name: nesting(f) for f in functions(path) if nesting(f) > 3} == {}
    assert {f.name: unannotated(f) for f in functions(path) if unannotated(f)} == {}
    assert wide == [] or name in BOUNDARIES


def test_most_files_and_functions_are_small() -> None:
    lengths = [length(function) for path in FILES for function in functions(path)]

    assert median(map(lines, FILES)) <= 120
    assert quantiles(lengths, n=20)[-1] <= 30
