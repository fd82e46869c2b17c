"""Loading and unloading, exact inverses of each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.complete import new_matcher
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.notebook.input_transformer import rewrite_ask_lines
from localllm_magics.notebook.magics import NAMES, Magics
from localllm_magics.session import default_session

_KINDS = ("line", "cell")
_MISSING = object()


class Extension:
    """What was put into a shell, and what was there before.

    Args:
        shell: The shell to extend.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._config = LocalLLM(parent=shell)
        self._run = Magics(shell, default_session(), self._config).run
        self._matcher = new_matcher(default_session())
        self._before: dict[tuple[str, str], object] = {}

    def load(self) -> None:
        """Register the magics; a notice names those of others that this hides."""
        try:
            self._config.read_project(Path.cwd())
        except BadOption as exc:
            print(exc)  # noqa: T201 - a wrong setting must not keep the extension from loading
        for kind, name, registry in self._entries():
            self._before[kind, name] = registry.get(name, _MISSING)
            registry[name] = self._run
        self._shell.input_transformers_cleanup.append(rewrite_ask_lines)
        self._shell.configurables.append(self._config)  # type: ignore[arg-type] # IPython's annotation is too narrow
        if self._shell.Completer is not None:
            self._shell.Completer.custom_matchers.append(self._matcher)
        foreign = self._before["cell", "llm"]
        if foreign is not _MISSING:
            print(  # noqa: T201 - the user should know
                f"%%llm was registered by {_owner(foreign)}; localllm-magics handles it now, and %%localllm does the "
                "same. %unload_ext localllm_magics gives it back."
            )

    def unload(self) -> None:
        """Restore what was there before, stop what runs, and unload all models."""
        for kind, name, registry in self._entries():
            if registry.get(name) != self._run:
                continue  # somebody has registered this name since: theirs stays
            before = self._before[kind, name]
            if before is _MISSING:
                del registry[name]
            else:
                registry[name] = before
        _remove(self._shell.input_transformers_cleanup, rewrite_ask_lines)
        _remove(self._shell.configurables, self._config)
        if self._shell.Completer is not None:
            _remove(self._shell.Completer.custom_matchers, self._matcher)
        default_session().close()

    def _entries(self) -> list[tuple[str, str, dict[str, Any]]]:
        magics = self._shell.magics_manager.magics
        return [(kind, name, magics[kind]) for kind in _KINDS for name in NAMES]


_loaded: dict[int, Extension] = {}


def load_extension(shell: InteractiveShell) -> None:
    """Extend SHELL; again is no error."""
    if id(shell) in _loaded:
        return
    extension = Extension(shell)
    extension.load()
    _loaded[id(shell)] = extension


def unload_extension(shell: InteractiveShell) -> None:
    """Undo `load_extension`; again is no error."""
    extension = _loaded.pop(id(shell), None)
    if extension is not None:
        extension.unload()


def _owner(magic: object) -> str:
    """The module of a magic, by which users know whose it is."""
    function: Callable[..., object] | object = getattr(magic, "__func__", magic)
    return str(getattr(function, "__module__", type(magic).__module__))


def _remove(items: list[Any], item: object) -> None:
    if item in items:
        items.remove(item)
