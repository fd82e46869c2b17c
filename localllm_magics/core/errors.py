"""Every error a user can meet, split by who can fix it.

LocalLLMError
├── UsageError                what was typed
│   ├── BadOption
│   ├── BadExpression
│   ├── ModelNotFound
│   └── PromptTooLong
├── SetupError                this machine, or what is installed on it
│   ├── EngineNotInstalled
│   ├── EngineCrashed
│   └── NotEnoughMemory
├── ModelError                the model file
│   ├── NotAGGUF
│   ├── TruncatedFile
│   ├── UnsupportedArchitecture
│   ├── LoadFailed
│   └── BadTemplate
├── DaemonError               a server, or the way to it
│   ├── DaemonNotReachable
│   ├── AccessDenied
│   ├── DaemonBusy
│   ├── ModelNotInDaemon
│   └── StreamBroken
└── InternalError             us
    ├── IllegalTransition
    └── GenerationFailed
"""

import re

# Before a capital after a small letter, before a word after an abbreviation, and after the A in NotAGGUF.
_WORD_BREAKS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z]A)(?=[A-Z])")


class LocalLLMError(Exception):
    """The base of all errors: what happened, and the next thing to type.

    Args:
        message: What happened, with the value that caused it.
        hint: The next thing to type, or an empty string.

    `partial_text` is what had been generated when `Model.complete` failed.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.partial_text = ""

    @property
    def kind(self) -> str:
        """The class name in snake case, as the completion document names it."""
        return _WORD_BREAKS.sub("_", type(self).__name__).lower()

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(LocalLLMError):
    """What was typed cannot be done."""


class BadOption(UsageError):
    """An option is unknown, or its value is out of range."""


class BadExpression(UsageError):
    """A `{{ expr }}` in a prompt could not be evaluated."""


class ModelNotFound(UsageError):
    """The reference names no model, or more than one."""


class PromptTooLong(UsageError):
    """The prompt does not fit into the context."""


class SetupError(LocalLLMError):
    """Something on this machine is missing or does not work."""


class EngineNotInstalled(SetupError):
    """The engine that the reference needs is not installed."""


class EngineCrashed(SetupError):
    """The engine crashed when it was probed in a subprocess."""


class NotEnoughMemory(SetupError):
    """The model and its context do not fit into memory."""


class ModelError(LocalLLMError):
    """The model file cannot be used."""


class NotAGGUF(ModelError):
    """The file is not a GGUF file."""


class TruncatedFile(ModelError):
    """The GGUF file ends before its last tensor."""


class UnsupportedArchitecture(ModelError):
    """llama.cpp does not know the architecture."""


class LoadFailed(ModelError):
    """llama.cpp refused the file."""


class BadTemplate(ModelError):
    """The chat template of the model cannot be rendered."""


class DaemonError(LocalLLMError):
    """A server refused or failed."""


class DaemonNotReachable(DaemonError):
    """No server answers at the address."""


class AccessDenied(DaemonError):
    """The server requires a key, or another one."""


class DaemonBusy(DaemonError):
    """The server is overloaded."""


class ModelNotInDaemon(DaemonError):
    """The server does not have the model."""


class StreamBroken(DaemonError):
    """The answer broke off."""


class InternalError(LocalLLMError):
    """A fault of localllm-magics itself."""


class IllegalTransition(InternalError):
    """A generation's state does not allow the transition."""


class GenerationFailed(InternalError):
    """The engine raised an unexpected error."""
