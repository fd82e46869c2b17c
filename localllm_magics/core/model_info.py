"""What is known of a model without loading it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Source: TypeAlias = Literal[
    "bundled", "folder", "huggingface", "ollama", "lmstudio", "llama.cpp", "gpt4all", "jan", "daemon"
]
Kind: TypeAlias = Literal["chat", "base", "embedding", "projector", "adapter", "vocabulary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that can be named, as its file's header or its server describes it; None is not known.

    Args:
        reference: What a user types to use it.
        size_bytes: Size of the weights, all parts of a split model together.
        parameters: How many weights it has.
        context: The context it was trained with, in tokens.
        problem: Why it cannot be used, in words, or None.
    """

    reference: str
    name: str
    source: Source
    path: Path | None = None
    size_bytes: int | None = None
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context: int | None = None
    layers: int | None = None
    has_chat_template: bool | None = None
    kind: Kind | None = None
    problem: str | None = None
