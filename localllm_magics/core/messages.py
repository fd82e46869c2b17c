"""Messages of a conversation, as frozen values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from localllm_magics.core.errors import BadOption

Role: TypeAlias = Literal["system", "user", "assistant"]
_PROMPT_HINT = 'Pass a string, or [{"role": "user", "content": "Why?"}].'


class TextDict(TypedDict):
    """A part of a message as users and servers write it."""

    type: Literal["text"]
    text: str


class MessageDict(TypedDict):
    """A message as users and servers write it."""

    role: str
    content: str | Sequence[TextDict]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of a message that is text."""

    text: str


Part: TypeAlias = TextPart
"""What a message is made of: a union, which images and tool calls will join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def from_text(cls, role: Role, text: str) -> "Message":
        """A message that is one text."""
        return cls(role=role, parts=(TextPart(text),))

    @property
    def text(self) -> str:
        """The text of all its parts."""
        return "".join(part.text for part in self.parts)

    def to_dict(self) -> dict[str, str]:
        """The shape that chat templates and servers read."""
        return {"role": self.role, "content": self.text}


def to_messages(prompt: str | Sequence[MessageDict], system: str | None = None) -> tuple[Message, ...]:
    """PROMPT as messages, with SYSTEM before them.

    Raises:
        BadOption: A message has another role, no content, or there is none.
    """
    if not isinstance(system, str | None):
        raise BadOption(f"The system prompt is {_kind(system)}, not a string.", "Pass system=str(...).")
    start = () if system is None else (Message.from_text("system", system),)
    if isinstance(prompt, str):
        return (*start, Message.from_text("user", prompt))
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
    known = next((known for known in get_args(Role) if known == role), None)
    parts = _to_parts(content)
    if known is None or not parts:
        hint = "The role is system, user or assistant, and the content is a string."
        raise BadOption(f"{item!r} is not a message.", hint)
    return Message(role=known, parts=parts)


def _to_parts(content: object) -> tuple[Part, ...]:
    """CONTENT as parts, none if it is not what a message holds."""
    if isinstance(content, str):
        return (TextPart(content),)
    given = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in given if isinstance(part, Mapping) and part.get("type") == "text"]
    parts = tuple(TextPart(text) for text in texts if isinstance(text, str))
    return parts if len(parts) == len(given) else ()
