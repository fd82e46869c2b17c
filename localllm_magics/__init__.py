"""Local language models in notebook cells.

    %load_ext localllm_magics

    %%llm demo
    What is a GGUF file?

In Python, `load` gives a `Model` with `complete` and `stream`; `models` lists
what can be loaded. The import brings in the standard library only; engines
and front ends come with their first use.
"""

from typing import TYPE_CHECKING

from localllm_magics.api import load, models
from localllm_magics.core.completion import Completion, Stats
from localllm_magics.core.errors import (
    AccessDenied,
    BadExpression,
    BadOption,
    BadTemplate,
    DaemonBusy,
    DaemonError,
    DaemonNotReachable,
    EngineCrashed,
    EngineNotInstalled,
    GenerationFailed,
    IllegalTransition,
    InternalError,
    LoadFailed,
    LocalLLMError,
    ModelError,
    ModelNotFound,
    ModelNotInDaemon,
    NotAGGUF,
    NotEnoughMemory,
    PromptTooLong,
    SetupError,
    StreamBroken,
    TruncatedFile,
    UnsupportedArchitecture,
    UsageError,
)
from localllm_magics.core.events import Done, Failed, Loading, Pending, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.version import __version__
from localllm_magics.model import Model

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "AccessDenied",
    "BadExpression",
    "BadOption",
    "BadTemplate",
    "Completion",
    "DaemonBusy",
    "DaemonError",
    "DaemonNotReachable",
    "Done",
    "EngineCrashed",
    "EngineNotInstalled",
    "Failed",
    "GenerationFailed",
    "IllegalTransition",
    "InternalError",
    "LoadFailed",
    "Loading",
    "LocalLLMError",
    "Model",
    "ModelError",
    "ModelInfo",
    "ModelNotFound",
    "ModelNotInDaemon",
    "ModelPicker",
    "NotAGGUF",
    "NotEnoughMemory",
    "Pending",
    "PromptTooLong",
    "Reading",
    "ReasoningDelta",
    "SetupError",
    "Stats",
    "StreamBroken",
    "TextDelta",
    "TruncatedFile",
    "UnsupportedArchitecture",
    "UsageError",
    "__version__",
    "load",
    "load_ipython_extension",
    "models",
    "unload_ipython_extension",
]


if TYPE_CHECKING:
    from localllm_magics.widgets.picker import ModelPicker
else:  # for a type checker there would be every name

    def __getattr__(name: str) -> object:
        """Widgets, at their first use."""
        if name == "ModelPicker":
            from localllm_magics.widgets.picker import ModelPicker

            return ModelPicker
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Register `%llm` and `%%llm`; IPython calls this for `%load_ext localllm_magics`."""
    from localllm_magics.notebook.extension import load_extension

    load_extension(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Restore what was there before; IPython calls this for `%unload_ext localllm_magics`."""
    from localllm_magics.notebook.extension import unload_extension

    unload_extension(shell)
