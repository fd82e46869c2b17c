"""Loading and unloading are exact inverses."""

import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import load_ipython_extension, unload_ipython_extension
from localllm_magics.model import Model
from localllm_magics.session import default_session
from localllm_magics.testing import scripted_model

LOADED = {"line": 2, "cell": 2, "cleanup": 2, "configurables": 1, "matchers": 1}


def state(shell: InteractiveShell) -> dict[str, list[object]]:
    """Everything of SHELL that an extension may change."""
    magics = shell.magics_manager.magics
    return {
        "line": list(magics["line"].items()),
        "cell": list(magics["cell"].items()),
        "cleanup": list(shell.input_transformers_cleanup),
        "post": list(shell.input_transformers_post),
        "lines": list(shell.input_transformer_manager.line_transforms),
        "tokens": list(shell.input_transformer_manager.token_transformers),
        "ast": list(shell.ast_transformers),
        "configurables": list(shell.configurables),
        "matchers": list(shell.Completer.custom_matchers),
        "events": [(name, *callbacks) for name, callbacks in shell.events.callbacks.items()],
        "exceptions": list(shell.custom_exceptions),
        "names": sorted(shell.user_ns),
        "options": [Path.cwd(), *sorted(os.environ.items()), *warnings.filters, sys.displayhook, sys.excepthook],
    }


def added(before: dict[str, list[object]], after: dict[str, list[object]]) -> dict[str, int]:
    """How many things there are more of, by kind."""
    return {kind: len(after[kind]) - len(things) for kind, things in before.items() if after[kind] != things}


def foreign_magic(line: str, cell: str = "") -> str:
    """Somebody else's %%llm."""
    return f"{line} {cell}"


def test_load_adds_and_unload_takes_away(bare_shell: InteractiveShell) -> None:
    before = state(bare_shell)

    load_ipython_extension(bare_shell)
    loaded = state(bare_shell)
    unload_ipython_extension(bare_shell)

    assert added(before, loaded) == LOADED
    assert state(bare_shell) == before


def test_load_ext_twice_and_reload_keep_one_of_each(bare_shell: InteractiveShell) -> None:
    bare_shell.run_line_magic("unload_ext", "localllm_magics")  # IPython makes these magics at their first use
    before = state(bare_shell)

    for line in ("load_ext", "load_ext", "reload_ext", "reload_ext"):
        bare_shell.run_line_magic(line, "localllm_magics")
    load_ipython_extension(bare_shell)
    loaded = state(bare_shell)
    bare_shell.run_line_magic("unload_ext", "localllm_magics")

    assert added(before, loaded) == LOADED
    assert state(bare_shell) == before


def test_a_shell_without_a_completer_is_extended(bare_shell: InteractiveShell) -> None:
    bare_shell.Completer = None  # type: ignore[assignment] # so it is before `init_completer`

    load_ipython_extension(bare_shell)
    loaded = "llm" in bare_shell.magics_manager.magics["cell"]
    unload_ipython_extension(bare_shell)

    assert loaded
    assert "llm" not in bare_shell.magics_manager.magics["cell"]


def test_what_somebody_else_took_away_is_not_missed(shell: InteractiveShell) -> None:
    shell.input_transformers_cleanup.clear()

    unload_ipython_extension(shell)

    assert shell.input_transformers_cleanup == []


def test_unload_without_load_changes_nothing(bare_shell: InteractiveShell) -> None:
    before = state(bare_shell)

    unload_ipython_extension(bare_shell)

    assert state(bare_shell) == before


def test_a_foreign_magic_is_named_and_given_back(
    bare_shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    bare_shell.register_magic_function(foreign_magic, "cell", "llm")  # type: ignore[arg-type] # wrong in IPython
    bare_shell.register_magic_function(foreign_magic, "line", "llm")  # type: ignore[arg-type] # wrong in IPython
    before = state(bare_shell)

    load_ipython_extension(bare_shell)
    said = capsys.readouterr().out
    unload_ipython_extension(bare_shell)

    assert f"%%llm was registered by {__name__}" in said
    assert "%%localllm" in said
    assert state(bare_shell) == before
    assert bare_shell.run_cell_magic("llm", "a", "b") == "a b"


def test_nothing_is_said_without_a_foreign_magic(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert capsys.readouterr().out == ""


def test_a_magic_registered_later_stays(shell: InteractiveShell) -> None:
    shell.register_magic_function(foreign_magic, "cell", "llm")  # type: ignore[arg-type] # wrong in IPython

    unload_ipython_extension(shell)

    assert shell.run_cell_magic("llm", "a", "b") == "a b"
    assert "localllm" not in shell.magics_manager.magics["cell"]


def test_unload_stops_and_unloads_everything(shell: InteractiveShell, says: Callable[..., Model]) -> None:
    model = says("one two three", hangs_after=1)
    stream = model.stream("Hi")

    unload_ipython_extension(shell)

    assert stream.completion().finish_reason == "stopped"
    assert default_session().models == ()
    assert model.is_unloaded


def test_the_second_name_does_the_same(shell: InteractiveShell, says: Callable[..., Model]) -> None:
    says("Hi.")

    shell.run_cell("%%localllm\nHello")
    shell.run_cell("x = %localllm ask Hello?")

    assert shell.user_ns["_llm"].text == "Hi."
    assert shell.user_ns["x"].text == "Hi."


def test_two_shells_are_independent(bare_shell: InteractiveShell) -> None:
    other = InteractiveShell(parent=bare_shell)
    load_ipython_extension(bare_shell)
    load_ipython_extension(other)

    unload_ipython_extension(other)

    assert "llm" not in other.magics_manager.magics["cell"]
    assert "llm" in bare_shell.magics_manager.magics["cell"]


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("is_closed", [False, True])
def test_what_stdout_cannot_show_ends_no_answer(
    bare_shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, *, encoding: str, errors: str, is_closed: bool
) -> None:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding=encoding, errors=errors)
    monkeypatch.setattr("sys.stdout", stdout)
    load_ipython_extension(bare_shell)
    with scripted_model("Hi \U0001f600 there"):
        bare_shell.run_cell("%llm ask -o answer Hello")
    shown = written.getvalue()
    if is_closed:
        stdout.close()

    unload_ipython_extension(bare_shell)

    assert bare_shell.user_ns["answer"].text == "Hi \U0001f600 there"
    assert shown.startswith(b"Hi ? there")
    assert is_closed or stdout.errors == errors
