"""Loading and unloading, exact inverses of each other."""

import sys
from contextlib import ExitStack
from io import TextIOWrapper
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.catalog.discover import running_folder
from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.complete import new_matcher
from localllm_magics.notebook.config import LIMITS, SERVER_SETTINGS, LocalLLM
from localllm_magics.notebook.input_transformer import keep_empty_cells, rewrite_ask_lines
from localllm_magics.notebook.magics import NAMES, Magics
from localllm_magics.session import default_session

_loaded: dict[int, ExitStack] = {}


def load_extension(shell: InteractiveShell) -> None:
    """Register the magics in SHELL; a notice names those of others that this hides. Again is no error."""
    if id(shell) not in _loaded:
        undo = ExitStack()
        undo.callback(default_session().close)
        _replace_what_stdout_cannot_show(undo)
        config = _load_config(shell, undo)
        _load_magics(shell, config, undo)
        _loaded[id(shell)] = undo


def unload_extension(shell: InteractiveShell) -> None:
    """Restore what was in SHELL before, stop what runs, and unload all models; again is no error."""
    _loaded.pop(id(shell), ExitStack()).close()


def _replace_what_stdout_cannot_show(undo: ExitStack) -> None:
    """In cp1252 or ASCII, an emoji of an answer becomes `?`; it must not end the answer."""
    stdout = sys.stdout
    if not isinstance(stdout, TextIOWrapper) or _can_show_all(stdout.encoding, stdout.errors or "strict"):
        return
    errors = stdout.errors

    def restore() -> None:
        if not stdout.closed:
            stdout.reconfigure(errors=errors)

    stdout.reconfigure(errors="replace")
    undo.callback(restore)


def _can_show_all(encoding: str, errors: str) -> bool:
    try:
        "\N{GRINNING FACE}".encode(encoding, errors)
    except UnicodeEncodeError:
        return False
    return True


def _load_config(shell: InteractiveShell, undo: ExitStack) -> LocalLLM:
    config = LocalLLM(parent=shell)

    def apply_settings(_change: object = None) -> None:
        default_session().settings = config.server_settings
        default_session().catalog.model_folders = tuple(config.model_folders)

    def apply_limits(_change: object = None) -> None:
        default_session().residency.limits = config.limits

    config.observe(apply_settings, names=[*SERVER_SETTINGS, "model_folders"])
    config.observe(apply_limits, names=list(LIMITS))
    apply_settings()
    apply_limits()
    try:
        config.read_project(running_folder())
    except BadOption as exc:
        print(exc)  # noqa: T201 - a wrong setting must not keep the extension from loading
    shell.configurables.append(config)  # type: ignore[arg-type] # IPython's annotation is too narrow
    undo.callback(lambda: _remove(shell.configurables, config))
    return config


def _load_magics(shell: InteractiveShell, config: LocalLLM, undo: ExitStack) -> None:
    run = Magics(Notebook(shell, default_session(), config)).run
    foreign = shell.magics_manager.magics["cell"].get("llm")
    for registry in shell.magics_manager.magics.values():
        for name in NAMES:
            undo.callback(_restore, registry, name, run, registry.get(name))
            registry[name] = run
    for transformer in (rewrite_ask_lines, keep_empty_cells):
        shell.input_transformers_cleanup.append(transformer)
        undo.callback(_remove, shell.input_transformers_cleanup, transformer)
    if shell.Completer is not None:
        matcher = new_matcher(default_session())
        shell.Completer.custom_matchers.append(matcher)
        undo.callback(lambda: _remove(shell.Completer.custom_matchers, matcher))
    if foreign is not None:
        owner = getattr(foreign, "__module__", type(foreign).__module__)
        print(  # noqa: T201 - the user should know
            f"%%llm was registered by {owner}; localllm-magics handles it now, and %%localllm does the "
            "same. %unload_ext localllm_magics gives it back."
        )


def _restore(registry: dict[str, Any], name: str, ours: object, before: object) -> None:
    """Put BEFORE, None for nothing, in the place of OURS; what somebody has registered since stays."""
    if registry.get(name) == ours:
        registry[name] = before
        if before is None:
            del registry[name]


def _remove(items: list[Any], item: object) -> None:
    if item in items:
        items.remove(item)
