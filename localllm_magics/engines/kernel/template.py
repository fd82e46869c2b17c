"""Chat templates: Jinja from the model file, and therefore untrusted."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.request import Message

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_NOTICE = "This model has no chat template, so ChatML was used."
GO_NOTICE = (
    "This model's only chat template is Ollama's, written in Go, which cannot be used here, so ChatML was used. "
    "Ollama itself uses it: %llm load ollama:{}"
)
# A template is a program of somebody else's: besides its own errors it can raise what any expression can.
_RAISED = (
    jinja2.TemplateError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
NO_SYSTEM_NOTICE = "This model's template has no system prompt, so it was put before the first message."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as the model reads it, and what had to be done for it."""

    text: str
    notices: tuple[str, ...] = ()


class ChatTemplate:
    """Renders conversations in a sandbox.

    Args:
        source: The model's Jinja text, or None for ChatML.
        bos: Beginning-of-sequence token as text, which templates may write.
        eos: End-of-sequence token as text.
        notice: What to tell where ChatML was used.
    """

    def __init__(self, source: str | None, *, bos: str = "", eos: str = "", notice: str = CHATML_NOTICE) -> None:
        self._notices = (notice,) if source is None else ()
        self._special = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _environment().from_string(CHATML if source is None else source)
        except _RAISED as exc:
            raise _bad(exc) from exc

    def render(self, messages: Sequence[Message], *, think: bool | None = None) -> Rendered:
        """MESSAGES as text, ready for the answer; THINK tells templates of reasoning models whether to reason.

        Raises:
            BadTemplate: The template failed on these messages.
        """
        try:
            return Rendered(text=self._render(messages, think), notices=self._notices)
        except BadTemplate:
            merged = _without_system(messages)
            if merged is None:
                raise
            return Rendered(text=self._render(merged, think), notices=(*self._notices, NO_SYSTEM_NOTICE))

    def _render(self, messages: Sequence[Message], think: bool | None) -> str:
        # By the name that the templates of Qwen3 and its successors read.
        options = {} if think is None else {"enable_thinking": think}
        try:
            return self._template.render(
                messages=[message.to_dict() for message in messages],
                add_generation_prompt=True,
                **self._special,
                **options,
            )
        except _RAISED as exc:
            raise _bad(exc) from exc


class _GenerationTag(Extension):
    """`{% generation %}`, with which templates mark what was generated, for training: it changes nothing here."""

    tags = {"generation"}  # noqa: RUF012 - a set, as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """The functions and filters that templates in the field rely on, as transformers gives them."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationTag]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(  # the signature that transformers gives it
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's escaping of HTML characters."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return dt.datetime.now().astimezone().strftime(pattern)


def _bad(exc: Exception) -> BadTemplate:
    return BadTemplate(
        f"The model's chat template failed: {type(exc).__name__}: {exc}",
        "Use --raw for plain text completion, or another file of the model.",
    )


def _without_system(messages: Sequence[Message]) -> list[Message] | None:
    """MESSAGES with the system prompt in front of the first user message; None if that changes nothing."""
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return None
    content = f"{messages[0].content}\n\n{messages[1].content}"
    return [Message(role="user", content=content), *messages[2:]]
