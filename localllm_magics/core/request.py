"""What a user asks for: a conversation, sampling and load options, as frozen values."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeAlias, TypedDict, get_args

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import Message
from localllm_magics.core.sampling import Sampling, bad_value, to_flag, to_number

GpuLayers: TypeAlias = int | Literal["auto", "all"]
CpuMoe: TypeAlias = int | Literal["all"]
KvType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "iq4_nl", "q4_1", "q4_0"]
KV_TYPES: tuple[KvType, ...] = get_args(KvType)
_NUMBER = re.compile(r"[0-9]{1,20}")
ALL_LAYERS = 999
"""More layers than a model has, for programs that take only a number."""
DEFAULT_CONTEXT = 8192
"""The largest context window, in tokens, that is allocated without being asked for."""
LOAD_EXAMPLES: Mapping[str, str] = {
    "ctx": "4096",
    "gpu_layers": "auto",
    "cpu_moe": "all",
    "kv_type": "q8_0",
    "threads": "2",
}
"""A value that works for each load option, as it is typed."""


class LoadArguments(TypedDict, total=False):
    """What `load` takes; see `LoadOptions` for meanings and ranges."""

    ctx: int | None
    gpu_layers: GpuLayers | None
    cpu_moe: CpuMoe | None
    kv_type: KvType | None
    threads: int | None
    force: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a model is put into memory; None leaves a value as it is, or to us.

    Args:
        ctx: Tokens of context, 1 or more.
        gpu_layers: How many layers go to a GPU, or `auto` or `all`.
        cpu_moe: Of how many layers, the first ones, the experts stay on the CPU, or `all`.
        kv_type: The type of the KV cache, as llama.cpp names it.
        threads: CPU threads, 1 or more.
        force: Load although the plan says that it does not fit.

    Raises:
        BadOption: A value is out of its range.
    """

    ctx: int | None = None
    gpu_layers: GpuLayers | None = None
    cpu_moe: CpuMoe | None = None
    kv_type: KvType | None = None
    threads: int | None = None
    force: bool | None = None

    def __post_init__(self) -> None:
        self._check("ctx", 1, 2**31 - 1, "1 or more")
        self._check("threads", 1, 512, "from 1 to 512")
        if self.gpu_layers not in ("auto", "all"):
            self._check("gpu_layers", 0, 2**31 - 1, "0 or more, auto or all")
        if self.cpu_moe != "all":
            self._check("cpu_moe", 0, 2**31 - 1, "0 or more, or all")
        if isinstance(self.kv_type, str):
            object.__setattr__(self, "kv_type", self.kv_type.lower())
        if self.kv_type not in (None, *KV_TYPES):
            raise bad_value("kv_type", f"one of {', '.join(KV_TYPES)}", LOAD_EXAMPLES["kv_type"], self.kv_type)

    def _check(self, name: str, low: int, high: int, allowed: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        is_text = isinstance(value, str) and _NUMBER.fullmatch(value)
        number = to_number(int(value) if is_text else value, int)
        if number is None or not low <= number <= high:
            words = allowed if number is None or number < low else f"from {low} to {high}"
            raise bad_value(name, words, LOAD_EXAMPLES[name], value)
        object.__setattr__(self, name, number)

    def __str__(self) -> str:
        """The options that are set, as they are typed."""
        given = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        return " ".join(to_flag(name) if value is True else f"{to_flag(name)} {value}" for name, value in given.items())

    def or_else(self, defaults: "LoadOptions") -> "LoadOptions":
        """These values, with those that are None taken from DEFAULTS."""
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation to be made.

    Args:
        messages: The conversation, oldest first; the last one is the user's.
        sampling: What the user set; the engine fills in the rest.
        raw: The single message is text to continue, without a chat template.
        think: Whether a reasoning model shall reason; None leaves it to the model.
        schema: The JSON Schema that the answer follows.
        id: Names the generation, its card and its completion.

    Raises:
        BadOption: RAW with more than one message, or with THINK.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    raw: bool = False
    think: bool | None = None
    schema: Mapping[str, object] | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        if self.raw and len(self.messages) != 1:
            message = "--raw continues one text: there can be no system prompt and no other message."
            raise BadOption(message, "Leave --system out.")
        if self.raw and self.think is not None:
            message = "--raw has no chat template, in which --think and --no-think could change something."
            raise BadOption(message, "Leave one of them out.")
