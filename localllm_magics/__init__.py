"""Local language models in notebook cells.

    %load_ext localllm_magics

    %%llm demo
    What is a GGUF file?

In Python, `load` gives a `Model` with `complete` and `stream`; `models` lists
what can be loaded. Every name is imported when it is first used, so that
loading the extension stays cheap.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_HOMES = {
    "core.completion": ("Completion", "Stats"),
    "core.errors": (
        "BadExpression",
        "BadOption",
        "BadTemplate",
        "DaemonError",
        "DaemonNotReachable",
        "EngineCrashed",
        "EngineNotInstalled",
        "GenerationFailed",
        "IllegalTransition",
        "InternalError",
        "LoadFailed",
        "LocalLLMError",
        "ModelError",
        "ModelNotFound",
        "ModelNotInDaemon",
        "NoGPU",
        "NotAGGUF",
        "NotEnoughMemory",
        "PromptTooLong",
        "SetupError",
        "StreamBroken",
        "TruncatedFile",
        "UnsupportedArchitecture",
        "UsageError",
    ),
    "core.events": ("Done", "Failed", "Loading", "Pending", "Reading", "ReasoningDelta", "TextDelta"),
    "core.model_info": ("ModelInfo",),
    "model": ("Model",),
    "session": ("load", "models"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "load_ipython_extension", "unload_ipython_extension"])


def __getattr__(name: str) -> object:
    if name == "__version__":
        from localllm_magics.core.version import VERSION

        return VERSION
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Register `%llm` and `%%llm`; IPython calls this for `%load_ext localllm_magics`."""
    from localllm_magics.notebook.extension import load_extension

    load_extension(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Restore what was there before; IPython calls this for `%unload_ext localllm_magics`."""
    from localllm_magics.notebook.extension import unload_extension

    unload_extension(shell)
