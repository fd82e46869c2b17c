"""Chat templates: Jinja from the model file, and therefore untrusted."""

import datetime as dt
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NoReturn, cast, get_args

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localllm_magics.core.errors import BadTemplate
from localllm_magics.core.messages import Message, Role
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.message_spans import PLACEHOLDER, find_messages, placeholders_in
from localllm_magics.engines.kernel.template_limits import MOST_SECONDS, LimitExceeded, check_limits, run_limited
from localllm_magics.engines.think_options import think_options

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
_NAME_NOTICE = "This model's chat template is only a name, {!r}, so ChatML was used."
NO_SYSTEM_NOTICE = "This model's template has no place for the system prompt, so it was put before the first message."
CHANGED_NOTICE = "This model's chat template changes the text of messages; --dry-run shows what the model reads."
_NO_SWITCH = "This model's chat template has no switch for reasoning, so {} changed nothing."
_SWITCH_IN_TEXT = " It reads /think and /no_think in a message instead."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as the model reads it, where its messages are, and what had to be done for it."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
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
        is_template = source is not None and ("{{" in source or "{%" in source)
        name = "" if source is None or is_template else _shorten(source)
        self._source = source if source is not None and is_template else CHATML
        usual = _NAME_NOTICE.format(name) if name else CHATML_NOTICE
        self._notices = () if is_template else (notice or usual,)
        self._special = {"bos_token": bos, "eos_token": eos}
        self._seconds = seconds
        self._layout = lru_cache(maxsize=32)(self._find_layout)

    def render(self, messages: Sequence[Message], *, think: bool | None = None, stop: Stop | None = None) -> Rendered:
        """MESSAGES as text, ready for the answer.

        Args:
            messages: The conversation.
            think: Whether templates of reasoning models shall make them reason.
            stop: Ends the work.

        Raises:
            BadTemplate: The template failed on these messages, left one out, or would not come to an end.
            Stopped: STOP was set.
        """
        try:
            return run_limited(lambda: self._to_rendered(messages, think), stop or Stop(), seconds=self._seconds)
        except LimitExceeded as exc:
            raise BadTemplate(f"The model's chat template {exc}.", _HINT) from exc

    def _to_rendered(self, messages: Sequence[Message], think: bool | None) -> Rendered:
        layout = self._layout(tuple(message.role for message in messages), think)
        text = self._render(_fold(messages) if layout.is_folded else messages, layout.as_parts, think)
        spans = find_messages(layout.pattern, messages, text)
        found = {span.number for span in spans}
        for number, message in enumerate(messages):
            if number not in found:
                which = f"message {number + 1} of {len(messages)} ({message.role}): {_shorten(message.text)!r}"
                raise BadTemplate(f"The model's chat template leaves out {which}", _HINT)
        notices = [*self._notices, *layout.notices]
        if any(span.is_changed for span in spans):
            notices.append(CHANGED_NOTICE)
        return Rendered(text=text, spans=tuple((span.start, span.end) for span in spans), notices=tuple(notices))

    def _find_layout(self, roles: tuple[Role, ...], think: bool | None) -> "_Layout":
        """The first that has all of a conversation, else the first that the template renders."""
        _ = self._compiled  # whose errors have nothing to do with layouts
        messages = [Message.from_text(role, PLACEHOLDER.format(number)) for number, role in enumerate(roles)]
        layouts: list[_Layout] = []
        error: BadTemplate | None = None
        for is_folded in (False, True)[: 1 + ("system" in roles)]:
            talk = _fold(messages) if is_folded else messages
            for as_parts in _shapes(talk):
                try:
                    layout = self._fit(talk, as_parts, think)
                except BadTemplate as exc:
                    error = error or exc
                    continue
                layouts.append(replace(layout, is_folded=is_folded))
                if not layout.unwritten:
                    return self._with_notices(layouts[-1], talk, think)
        if error is not None and not layouts:
            raise error
        return layouts[0]

    def _fit(self, talk: Sequence[Message], as_parts: frozenset[int], think: bool | None) -> "_Layout":
        """The layout AS_PARTS, or with those messages the other way that are not written so."""
        layout = self._try(talk, as_parts, think)
        if layout.unwritten:
            with suppress(BadTemplate):
                other = self._try(talk, as_parts ^ layout.unwritten, think)
                return layout if other.unwritten else other
        return layout

    def _try(self, talk: Sequence[Message], as_parts: frozenset[int], think: bool | None) -> "_Layout":
        pattern = self._render(talk, as_parts, think)
        written = placeholders_in(pattern)
        unwritten = (number for number, message in enumerate(talk) if not placeholders_in(message.text) <= written)
        return _Layout(pattern=pattern, as_parts=as_parts, unwritten=frozenset(unwritten))

    def _with_notices(self, layout: "_Layout", talk: Sequence[Message], think: bool | None) -> "_Layout":
        notices = [NO_SYSTEM_NOTICE] if layout.is_folded else []
        if think is not None:
            with suppress(BadTemplate):
                if self._render(talk, layout.as_parts, not think) == layout.pattern:
                    instead = _SWITCH_IN_TEXT if "/no_think" in self._source else ""
                    notices.append(_NO_SWITCH.format("--think" if think else "--no-think") + instead)
        return replace(layout, notices=tuple(notices))

    def _render(self, talk: Sequence[Message], as_parts: AbstractSet[int], think: bool | None) -> str:
        """TALK in the template, with the content of the messages AS_PARTS as a list of one part."""
        messages = [
            {"role": message.role, "content": [{"type": "text", "text": message.text}]}
            if number in as_parts
            else message.to_dict()
            for number, message in enumerate(talk)
        ]
        with _translated_errors():
            return self._compiled.render(messages=messages, add_generation_prompt=True, **self._variables(think))

    @cached_property
    def _compiled(self) -> jinja2.Template:
        with _translated_errors():
            return _Environment().from_string(self._source)

    def _variables(self, think: bool | None) -> dict[str, object]:
        """What llama.cpp gives templates, and what transformers does."""
        now = dt.datetime.now().astimezone()
        dates = {"date_string": now.strftime("%d %b %Y"), "datetime": now.strftime("%b %d %Y")}
        options = {} if think is None else think_options(self._source, is_wanted=think)
        return {**self._special, **dates, **options}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How a conversation has to be given to a template, so that all of it is written.

    Args:
        pattern: What the template then writes, with placeholders for the messages.
        as_parts: The messages whose content is a list of parts.
        unwritten: The messages that it leaves out all the same.
        is_folded: Whether system prompts are put into the messages behind them.
    """

    pattern: str
    as_parts: frozenset[int]
    unwritten: frozenset[int] = frozenset()
    is_folded: bool = False
    notices: tuple[str, ...] = ()


class _GenerationTag(Extension):
    """`{% generation %}`, with which templates enclose what was generated, for training: it changes nothing here."""

    tags = {"generation"}  # noqa: RUF012 - a set, as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _CheckTokens(Extension):
    """Checks the limits while a template is compiled."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """STREAM itself."""
        for token in stream:
            check_limits()
            yield token


class _CheckLoops(CodeGenerator):
    """Checks the limits at each step of a loop; `_Environment` does in calls, filters and tests."""

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802 - the name that Jinja gives it
        """Compile the loop."""
        check = nodes.Call(nodes.EnvironmentAttribute("check_limits"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(check, lineno=node.lineno))
        super().visit_For(node, frame)


class _Environment(ImmutableSandboxedEnvironment):
    """The functions and filters that templates in the field rely on, as transformers gives them."""

    code_generator_class = _CheckLoops
    check_limits = staticmethod(check_limits)

    # Each is one step of Python, which nobody can end, and may take hours; so are the calls and filters that pad.
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        extensions = ["jinja2.ext.loopcontrols", _GenerationTag, _CheckTokens]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        for name in ("batch", "center", "format", "indent", "round", "slice"):
            self.filters[name] = _limited(self.filters[name])
        self.filters["tojson"] = _to_json
        for functions in (self.filters, cast("dict[str, Callable[..., object]]", self.tests)):
            for name, function in functions.items():
                functions[name] = _checked(function)
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
        check_limits()
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


def _checked(work: Callable[..., object]) -> Callable[..., object]:
    """The filter or test WORK, which checks the limits: `map` and others call one many times."""

    @functools.wraps(work)
    def check_and_work(*args: object, **kwargs: object) -> object:
        check_limits()
        return work(*args, **kwargs)

    return check_and_work


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


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except _RAISED as exc:
        raise BadTemplate(f"The model's chat template failed: {type(exc).__name__}: {exc}", _HINT) from exc


def _shapes(talk: Sequence[Message]) -> Iterable[frozenset[int]]:
    """The messages whose content may have to be a list of parts: none, all, the first, those of a role, or the rest."""
    everything = frozenset(range(len(talk)))
    by_role = (frozenset(number for number in everything if talk[number].role == role) for role in get_args(Role))
    groups = (frozenset[int](), frozenset({0}), *by_role)
    return dict.fromkeys(shape for group in groups for shape in (group, everything - group))


def _fold(messages: Sequence[Message]) -> list[Message]:
    """MESSAGES with each system prompt in front of the user's message behind it, or as one where there is none."""
    folded, system = list[Message](), list[str]()
    for message in messages:
        if message.role == "system":
            system.append(message.text)
            continue
        if message.role == "user":
            folded.append(_user(*system, message.text))
        else:
            folded += [_user(*system)] if system else []
            folded.append(message)
        system = []
    return [*folded, _user(*system)] if system else folded


def _user(*texts: str) -> Message:
    return Message.from_text("user", "\n\n".join(texts))


def _shorten(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
