"""Chat templates: Jinja from the model file, and therefore untrusted."""

import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.messages import Message
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.template_limits import MOST_SECONDS, LimitExceeded, run_limited

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_NOTICE = "This model has no chat template, so ChatML was used."
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
_HINT = "Use --raw for plain text completion, or another file of the model."
_LARGEST_RESULT = 1_000_000
_PADDING = {"center", "expandtabs", "ljust", "rjust", "zfill"}
# A width of seven digits, or one that is given apart, in what `%` or `format` fills in.
_WIDE = re.compile(r"%(\(\w*\))?[-+ #0]*(\d*\.)?(\d{7}|\*)|\{[^{}]*:[^{}]*\d{7}")
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
        notice: The notice where ChatML is used, if not the usual one.
        seconds: The most that a conversation may take.
    """

    def __init__(
        self, source: str | None, *, bos: str = "", eos: str = "", notice: str = "", seconds: float = MOST_SECONDS
    ) -> None:
        self._source = CHATML if source is None else source
        self._notices = (notice or CHATML_NOTICE,) if source is None else ()
        self._special = {"bos_token": bos, "eos_token": eos}
        self._compiled: jinja2.Template | None = None
        self._seconds = seconds

    def render(self, messages: Sequence[Message], *, think: bool | None = None, stop: Stop | None = None) -> Rendered:
        """MESSAGES as text, ready for the answer.

        Args:
            messages: The conversation.
            think: Whether templates of reasoning models shall make them reason.
            stop: Ends the work.

        Raises:
            BadTemplate: The template failed on these messages, or would not come to an end.
            Stopped: STOP was set.
        """
        try:
            return run_limited(lambda: self._render_or_merge(messages, think), stop or Stop(), seconds=self._seconds)
        except LimitExceeded as exc:
            raise BadTemplate(f"The model's chat template {exc}.", _HINT) from exc

    def _render_or_merge(self, messages: Sequence[Message], think: bool | None) -> Rendered:
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
            if self._compiled is None:
                self._compiled = _Environment().from_string(self._source)
            talk = [message.to_dict() for message in messages]
            return self._compiled.render(messages=talk, add_generation_prompt=True, **self._special, **options)
        except _RAISED as exc:
            raise BadTemplate(f"The model's chat template failed: {type(exc).__name__}: {exc}", _HINT) from exc


class _GenerationTag(Extension):
    """`{% generation %}`, with which templates enclose what was generated, for training: it changes nothing here."""

    tags = {"generation"}  # noqa: RUF012 - a set, as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """The functions and filters that templates in the field rely on, as transformers gives them."""

    # Each is one step of Python, which nobody can end, and may take hours; so are the calls and filters that pad.
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationTag])
        for name in ("batch", "center", "format", "indent"):
            self.filters[name] = _limited(self.filters[name])
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = lambda pattern: dt.datetime.now().astimezone().strftime(pattern)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """The result, unless it would be too large."""
        if _size_of(operator, left, right) > _LARGEST_RESULT:
            raise SecurityError(f"the result of {operator} is too large")
        if operator == "%":
            _refuse_wide(pattern=left)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        """The result, unless FUNCTION is a text's and would make it too large."""
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps `format`
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            name = method.__name__
            _refuse_wide(*(args if name in _PADDING else ()), pattern=text if name in {"format", "format_map"} else "")
        return super().call(context, function, *args, **kwargs)


def _refuse_wide(*widths: object, pattern: object = "") -> None:
    """Refuse what would make a text too large: numbers, and those that are written in a pattern."""
    is_wide = any(isinstance(width, int) and width > _LARGEST_RESULT for width in widths)
    if is_wide or (isinstance(pattern, str) and _WIDE.search(pattern)):
        raise SecurityError("the result is too wide")


def _limited(work: Callable[..., object]) -> Callable[..., object]:
    """The filter WORK, which refuses such widths."""

    @functools.wraps(work)
    def narrow(value: object, *args: object, **kwargs: object) -> object:
        if work.__name__ == "do_format":
            _refuse_wide(pattern=value)
        else:
            _refuse_wide(*args, *kwargs.values())
        return work(value, *args, **kwargs)

    return narrow


def _size_of(operator: str, left: object, right: object) -> int:
    """Characters, items or bits of the result."""
    match left, right:
        case int(), int():
            return left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        case (int() as count, str() | list() | tuple() as value) | (str() | list() | tuple() as value, int() as count):
            return len(value) * count
    return 0


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


def _without_system(messages: Sequence[Message]) -> list[Message] | None:
    """MESSAGES with the system prompt in front of the first user message; None if that changes nothing."""
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return None
    content = f"{messages[0].text}\n\n{messages[1].text}"
    return [Message.from_text("user", content), *messages[2:]]
