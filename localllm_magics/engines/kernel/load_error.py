"""Errors for what llama.cpp refuses: the innermost of its own reasons, in one sentence."""

import re
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, LocalLLMError, NotEnoughMemory, UnsupportedArchitecture
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.engines.kernel.installing import upgrade_hint
from localllm_magics.engines.kernel.library import Logged
from localllm_magics.engines.kernel.plan import smaller_context_hint

# Names of functions, and what a function adds to the reason that another has thrown. Each character is read a few
# times at most, for the text may be from the file.
_AROUND = re.compile(
    r"^(?:\[?\w+\]?: +)?(?:error: )?(?:error loading model(?: hyperparameters| vocabulary)?: "
    r"|failed to initialize the context: |(?=\w*_)\w+: )*"
)
_SAYS_NOTHING = re.compile(r"failed to (load model|read (tensor (data|info)|key-value pairs|header))")
_MEMORY = re.compile(
    r"out of memory|insufficient memory|[Oo]utOfDeviceMemory|failed to (allocate|reserve)|(unable to|Cannot) allocate"
)
_NEWER = re.compile(r"invalid ggml type|unknown (pre-)?tokenizer|wrong number of tensors|unsupported|bad GGUF version")
"""What the build does not know may be newer than it."""
_LONGEST_REASON = 200


def load_error(path: Path, settings: PlanSettings, logged: Logged) -> LocalLLMError:
    """Why llama.cpp did not load PATH with SETTINGS, where LOGGED is what it logged."""
    unknown = re.search(r"unknown model architecture: '([^']*)'", logged.text)
    if unknown:
        return UnsupportedArchitecture(
            f"This build of llama.cpp does not know the architecture {unknown[1]!r} of {to_printable(path.name)}.",
            upgrade_hint(),
        )
    reason = inner_reason(logged)
    if _MEMORY.search(reason):
        hint = "Try fewer --gpu-layers." if settings.gpu_layers else "Choose a smaller model: %llm models"
        return NotEnoughMemory(f"llama.cpp has no memory for {to_printable(path.name)}: {reason}.", hint)
    hint = upgrade_hint() if _NEWER.search(reason) else "Try another file of the model."
    return LoadFailed(f"llama.cpp refused {to_printable(path.name)}: {reason}.", hint)


def context_error(settings: PlanSettings, logged: Logged) -> LocalLLMError:
    """Why llama.cpp made no context with SETTINGS, where LOGGED is what it logged."""
    size, reason = settings.context, inner_reason(logged)
    if "cache type" in reason or "V cache" in reason:
        return LoadFailed(f"This model cannot have a KV cache of {settings.kv_type}: {reason}.", "Try --kv-type f16.")
    message = f"A context of {size:,} tokens could not be allocated: {reason}."
    return NotEnoughMemory(message, smaller_context_hint(size))


def inner_reason(logged: Logged) -> str:
    """The first error of LOGGED that says more than that something failed; those that follow are its consequences."""
    reasons = [_AROUND.sub("", line.strip()) for line in logged.errors]
    reasons = [reason for reason in reasons if reason and not _SAYS_NOTHING.match(reason)]
    text = " ".join(reasons[0].split()) if reasons else "no reason given"
    return "".join(character for character in text if character.isprintable())[:_LONGEST_REASON].rstrip(".")
