"""The description of a model that need not be loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from localllm_magics.core.address import Address
from localllm_magics.core.completion import EngineName
from localllm_magics.core.memory_plan import Fit, Forecast
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.sampling import Sampling

Source: TypeAlias = Literal[
    "bundled", "folder", "huggingface", "ollama", "lmstudio", "llama.cpp", "gpt4all", "jan", "daemon"
]
Kind: TypeAlias = Literal["chat", "base", "embedding", "projector", "adapter", "vocabulary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDefaults:
    """Defaults from a model's file and its manifest, for options that a request leaves out.

    Args:
        system: The system prompt of a conversation that has none.
        sampling: None leaves an option to llama.cpp's default.
        ctx: The context size, in tokens.
        template_notice: Why the chat template cannot be used, where there is one, in sentences.
        load_hint: What to type where the file is refused.
    """

    system: str | None = None
    sampling: Sampling = Sampling()
    ctx: int | None = None
    template_notice: str = ""
    load_hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """Properties of a file that differ once it is replaced or written to.

    Args:
        device: That the file is on; it may get another number when it is mounted again.
    """

    path: Path
    size_bytes: int
    modified_ns: int
    inode: int
    device: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model as its file's header or its server describes it; None is not known.

    Args:
        reference: What a user types to use it.
        size_bytes: Size of the weights, all parts of a split model together.
        parameters: The number of weights.
        context: The trained context size, in tokens.
        problem: Why it cannot be used, or None.
        fit: Whether and how it fits into the memory that was free when it was listed.
        forecast: How fast it will be with that fit; None before this machine was measured.
        engine: What runs it.
        address: That of its server, or None.
        defaults: Its defaults; not shown in tables.
        files: Stamps of the files that this was read from; not shown in tables.
        shape: Its sizes; not shown in tables.
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
    fit: Fit | None = field(default=None, compare=False)
    forecast: Forecast | None = field(default=None, compare=False)
    engine: EngineName = "kernel"
    address: Address | None = None
    defaults: ModelDefaults = field(default=ModelDefaults(), repr=False)
    files: tuple[FileStamp, ...] = field(default=(), repr=False, compare=False)
    shape: ModelShape | None = field(default=None, repr=False, compare=False)
