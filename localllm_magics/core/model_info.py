"""What is known of a model without loading it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from localllm_magics.core.completion import EngineName
from localllm_magics.core.sampling import Sampling

Source: TypeAlias = Literal[
    "bundled", "folder", "huggingface", "ollama", "lmstudio", "llama.cpp", "gpt4all", "jan", "daemon"
]
Kind: TypeAlias = Literal["chat", "base", "embedding", "projector", "adapter", "vocabulary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """What a model's maker wants to be used where a request says nothing.

    Args:
        system: The system prompt of a conversation that has none.
        sampling: What was set; None leaves a value to the model's file.
        ctx: Tokens of context.
        has_foreign_template: There is a chat template that only the program which keeps the model can use.
    """

    system: str | None = None
    sampling: Sampling = Sampling()
    ctx: int | None = None
    has_foreign_template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """What a file was when it was read; its content is the same as long as all of this is."""

    path: Path
    size_bytes: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that can be named, as its file's header or its server describes it; None is not known.

    Args:
        reference: What a user types to use it.
        size_bytes: Size of the weights, all parts of a split model together.
        parameters: How many weights it has.
        context: The context it was trained with, in tokens.
        problem: Why it cannot be used, in words, or None.
        engine: What runs it.
        address: URL of the server that has it, where there is one.
        defaults: What its maker set; no part of the tables that users see.
        files: The files that this was read from, as they were then; no part of the tables either.
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
    engine: EngineName = "kernel"
    address: str | None = None
    defaults: ModelDefaults = field(default=ModelDefaults(), repr=False)
    files: tuple[FileStamp, ...] = field(default=(), repr=False, compare=False)
