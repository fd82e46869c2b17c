"""What a user asks for: messages, sampling and load options, as frozen values."""

import numbers
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeAlias, TypedDict, get_args

from localllm_magics.core.errors import BadOption

Role: TypeAlias = Literal["system", "user", "assistant"]
_ROLES: tuple[Role, ...] = get_args(Role)
GpuLayers: TypeAlias = int | Literal["auto", "all"]
MAX_SEED = 2**32 - 2
"""llama.cpp reads a seed as 32 bits; the largest value asks it to choose one."""


class MessageDict(TypedDict):
    """A message as users write it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_dict(self) -> MessageDict:
        """The shape that chat templates and servers read."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; None leaves a value to the model's own default.

    Args:
        temperature: 0 or more; 0 always takes the most likely token.
        top_k: 0 or more tokens are kept; 0 keeps all.
        top_p: From 0 to 1, the share of probability that is kept.
        min_p: From 0 to 1, the least probability relative to the best token's.
        repeat_penalty: More than 0; 1 is no penalty.
        seed: From 0 to 2**32 - 2.
        max_tokens: 1 or more; without it an answer ends when the model ends it.
        stop: Texts that end the answer; they are not part of it.

    Raises:
        BadOption: A value is out of its range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (kind, low, high, words) in _RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            number = _to_number(value, kind)
            if number is None or not low <= number <= high:
                raise _bad_value(name, words, value)
            object.__setattr__(self, name, number)
        if not all(_is_text(text) for text in self.stop):
            raise BadOption("--stop must be a text that is not empty.", f"Try --stop {EXAMPLES['stop']}.")

    def or_else(self, defaults: "Sampling") -> "Sampling":
        """These values, with those that are None, and stop texts where there are none, taken from DEFAULTS."""
        missing = {f.name: getattr(defaults, f.name) for f in fields(self) if getattr(self, f.name) in (None, ())}
        return replace(self, **missing)

    def seeded(self) -> "Sampling":
        """These values with a seed, a random one where none was given."""
        return self if self.seed is not None else replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))


def _to_number(value: object, kind: type[int] | type[float]) -> int | float | None:
    """VALUE as a number of KIND, NumPy's too; whole numbers are floats too, yes and no are none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if kind is float and isinstance(value, numbers.Real) else None


def _bad_value(name: str, words: str, value: object) -> BadOption:
    option = "--" + name.replace("_", "-")
    return BadOption(f"{option} must be {words}, not {value!r}.", f"Try {option} {EXAMPLES[name]}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


_PROMPT_HINT = 'Pass a string, or [{"role": "user", "content": "Why?"}].'
_INFINITY = float("inf")
_LARGEST = 3.4e38  # llama.cpp's floats have 32 bits
_RANGES: Mapping[str, tuple[type[int] | type[float], float, float, str]] = {
    "temperature": (float, 0.0, _LARGEST, "0 or more"),
    "top_k": (int, 0, 2**31 - 1, "a whole number, 0 or more"),
    "top_p": (float, 0.0, 1.0, "from 0 to 1"),
    "min_p": (float, 0.0, 1.0, "from 0 to 1"),
    "repeat_penalty": (float, 1e-6, _LARGEST, "more than 0"),
    "seed": (int, 0, MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
    "max_tokens": (int, 1, _INFINITY, "a whole number, 1 or more"),
}
EXAMPLES: Mapping[str, str] = {
    "temperature": "0.8",
    "top_k": "40",
    "top_p": "0.95",
    "min_p": "0.05",
    "repeat_penalty": "1.1",
    "seed": "1",
    "max_tokens": "64",
    "stop": '"END"',
    "ctx": "4096",
    "gpu_layers": "auto",
    "threads": "4",
}
"""A value that works for each option, as it is typed."""
LLAMA_CPP_SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0)
"""llama.cpp's own defaults (common/common.h, common_params_sampling)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How a model is put into memory; None leaves a value as it is, or to us.

    Args:
        ctx: Tokens of context, 1 or more.
        gpu_layers: How many layers go to a GPU, or `auto` or `all`.
        threads: CPU threads, 1 or more.

    Raises:
        BadOption: A value is out of its range.
    """

    ctx: int | None = None
    gpu_layers: GpuLayers | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        self._check("ctx", 1, 2**31 - 1, "1 or more")
        self._check("threads", 1, 512, "from 1 to 512")
        if self.gpu_layers not in ("auto", "all"):
            self._check("gpu_layers", 0, 2**31 - 1, "0 or more, auto or all")

    def _check(self, name: str, low: int, high: int, words: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        number = _to_number(value, int)
        if number is None or not low <= number <= high:
            raise _bad_value(name, words, value)
        object.__setattr__(self, name, number)

    def or_else(self, defaults: "LoadOptions") -> "LoadOptions":
        """These values, with those that are None taken from DEFAULTS."""
        missing = {f.name: getattr(defaults, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation to be made.

    Args:
        messages: The conversation, oldest first; the last one is the user's.
        sampling: What the user set; the engine fills in the rest.
        raw: The single message is text to continue, without a chat template.
        think: Whether a reasoning model shall reason; None leaves it to the model.
        schema: The JSON Schema that the answer follows.
        notices: What the completion should tell of how it was asked, in sentences.
        id: Names the generation, its card and its completion.

    Raises:
        BadOption: RAW with more than one message.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    raw: bool = False
    think: bool | None = None
    schema: Mapping[str, object] | None = None
    notices: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        if self.raw and len(self.messages) != 1:
            raise BadOption(
                "--raw continues one text: there can be no system prompt and no other message.", "Leave --system out."
            )


def to_messages(prompt: str | Sequence[MessageDict], system: str | None = None) -> tuple[Message, ...]:
    """PROMPT as messages, with SYSTEM before them.

    Raises:
        BadOption: A message has another role, no content, or there is none.
    """
    if not isinstance(system, str | None):
        raise BadOption(f"The system prompt is {_kind(system)}, not a string.", "Pass system=str(...).")
    start = () if system is None else (Message(role="system", content=system),)
    if isinstance(prompt, str):
        return (*start, Message(role="user", content=prompt))
    if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
        raise BadOption(f"The prompt is {_kind(prompt)}, not a string or a list of messages.", _PROMPT_HINT)
    messages = tuple(_to_message(item) for item in prompt)
    if not messages:
        raise BadOption("The prompt is an empty list.", _PROMPT_HINT)
    return (*start, *messages)


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _to_message(item: MessageDict) -> Message:
    try:
        role, content = item["role"], item["content"]
    except (KeyError, TypeError) as exc:
        raise BadOption(f"{item!r} is not a message.", 'Write {"role": "user", "content": "Why?"}.') from exc
    known = next((known for known in _ROLES if known == role), None)
    if known is None or not isinstance(content, str):
        hint = "The role is system, user or assistant, and the content is a string."
        raise BadOption(f"{item!r} is not a message.", hint)
    return Message(role=known, content=content)
