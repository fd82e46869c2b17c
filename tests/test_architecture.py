"""Imports go down the layers, never up and never round, and foreign libraries stay at home."""

import ast
import sys
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

Graph = dict[str, set[str]]

ROOT = Path(__file__).parents[1]
PACKAGE = "localllm_magics"

# Lowest first: a part imports what stands in its own row or in a row before it.
LAYERS = (
    {"core", "demo"},
    {"engines"},
    {"catalog"},
    {"activity", "model", "eviction", "idle_timer", "load_changes", "residency", "session", "session_state"},
    {"api", "bench", "testing"},
    {"notebook", "widgets"},
    {"__init__"},
)
FRONT = {"notebook", "widgets", "__init__"}
# Foreign libraries that only some parts may import.
HOMES = {
    "IPython": FRONT,
    "anywidget": FRONT,
    "comm": FRONT,
    "ipykernel": FRONT,
    "ipywidgets": FRONT,
    "traitlets": FRONT,
    "http.client": {"engines"},
    "httpcore": {"engines"},
    "llama_cpp": {"engines"},
    "requests": {"engines"},
    "socket": {"engines"},
    "urllib.request": {"engines"},
}


def part(module: str) -> str:
    """The word of LAYERS in a module's name: `core` in `localllm_magics.core.events`."""
    return (*module.split("."), "__init__")[1]


def height(module: str) -> int:
    """The row of LAYERS in which MODULE stands."""
    rows = [row for row, parts in enumerate(LAYERS) if part(module) in parts]
    assert rows, f"{module} is in no layer: add it to LAYERS"
    return rows[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that TREE imports, also inside functions, for types only, or by `import_module`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError("a relative import: write the whole name")
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name))]):
                yield name


def read(root: Path) -> Graph:
    """What each module of the package under ROOT imports."""
    files = {_module_name(path.relative_to(root)): path for path in (root / PACKAGE).rglob("*.py")}
    return {
        module: {_resolve(name, files.keys()) for name in imports(ast.parse(path.read_text("utf-8")))}
        for module, path in sorted(files.items())
    }


def _module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _resolve(name: str, modules: Collection[str]) -> str:
    """The module in NAME, which may go on with a name inside that module."""
    while name.startswith(PACKAGE + ".") and name not in modules:
        name = name.rpartition(".")[0]
    return name


def upward(graph: Graph) -> list[str]:
    heights = {module: height(module) for module in graph}
    return [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in sorted(names & graph.keys())
        if heights[name] > heights[module]
    ]


def cycle(graph: Graph) -> list[str]:
    """A chain of modules that ends where it starts, or nothing."""
    try:
        TopologicalSorter({module: names & graph.keys() for module, names in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def astray(graph: Graph) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in sorted(names)
        for library, homes in HOMES.items()
        if f"{name}.".startswith(f"{library}.") and part(module) not in homes
    ]


def foreign_in_core(graph: Graph) -> list[str]:
    allowed = sys.stdlib_module_names | {PACKAGE}
    return [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in sorted(names)
        if part(module) == "core" and name.partition(".")[0] not in allowed
    ]


def test_no_import_goes_up() -> None:
    assert upward(read(ROOT)) == []


def test_no_imports_go_round() -> None:
    assert cycle(read(ROOT)) == []


def test_foreign_libraries_stay_at_home() -> None:
    assert astray(read(ROOT)) == []


def test_core_needs_only_the_standard_library() -> None:
    assert foreign_in_core(read(ROOT)) == []


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        pytest.param("from localllm_magics.engines.base import Engine", {upward}, id="upward"),
        pytest.param("import localllm_magics", {upward, cycle}, id="the top"),
        pytest.param("def f():\n from localllm_magics.core import low", {cycle}, id="round, in a function"),
        pytest.param("if TYPE_CHECKING:\n from localllm_magics.core.low import X", {cycle}, id="round, for types"),
        pytest.param("importlib.import_module('localllm_magics.core.low')", {cycle}, id="round, by name"),
        pytest.param("import numpy as np", {foreign_in_core}, id="foreign in core"),
        pytest.param("from IPython.display import display", {astray, foreign_in_core}, id="front end in core"),
        pytest.param("from urllib import request", {astray}, id="network in core"),
        pytest.param("from urllib import parse", set(), id="nothing wrong"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, source: str, complaints: set[object]) -> None:
    files = {
        "__init__": "import localllm_magics.core.low",
        "engines/base": "",
        "core/low": "from localllm_magics.core.high import Y",
        "core/high": source,
    }
    for name, text in files.items():
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    graph = read(tmp_path)

    assert {check for check in (upward, cycle, astray, foreign_in_core) if check(graph)} == complaints
