"""A server's error, from its response or from a record in a stream, as one of ours."""

import html
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from localllm_magics.core.address import Address
from localllm_magics.core.errors import (
    AccessDenied,
    BadOption,
    DaemonBusy,
    DaemonError,
    DaemonNotReachable,
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    ModelNotInDaemon,
    NotEnoughMemory,
    PromptTooLong,
    StreamBroken,
    UnsupportedArchitecture,
)
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.engines.server.proxy import proxy_denial
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.settings import TO_SET_KEY, TO_SET_PASSWORD

_LONGEST_MESSAGE = 300
_MOST_WRAPPINGS = 6
_NO_REASON = "no reason given"
_TITLE = re.compile(r"<title[^>]{0,100}>(.{0,300}?)</title", re.IGNORECASE | re.DOTALL)
_TOO_LONG = re.compile(
    r"exceeds? the available context|context length|context_length_exceeded|prompt is too long|longer than the context",
    re.IGNORECASE,
)


class _Known(NamedTuple):
    """What a server's message means; SUMMARY and HINT are filled in from the context."""

    pattern: str
    kind: type[LocalLLMError]
    summary: str
    hint: str


# In the order in which they are searched for.
_KNOWN: tuple[_Known, ...] = (
    _Known(
        r"model.{0,200}(not found|does not exist|not exist|is not loaded)|no such model",
        ModelNotInDaemon,
        "does not have {model}",
        "{to_get_model}",
    ),
    _Known(r"HTTP request.{0,20} to (an )?HTTPS", DaemonNotReachable, "wants TLS", "Write its address with https://."),
    _Known(r"not support thinking", BadOption, "has no reasoning for {model}", "Leave --think out."),
    _Known(
        r"not support (chat|generate|completion)",
        BadOption,
        "makes no text with {model}",
        "Use a chat model instead. To see what it has, type: %llm models",
    ),
    _Known(
        r"system memory|out of memory|(unable|failed) to allocate|OutOfMemory",
        NotEnoughMemory,
        "has too little memory for {model}",
        "{to_need_less}",
    ),
    _Known(
        r"unknown model architecture",
        UnsupportedArchitecture,
        "does not know the architecture of {model}",
        "Bring the server up to date, or use another model.",
    ),
    _Known(
        r"signal: |segmentation fault|illegal instruction|has unexpectedly stopped",
        EngineCrashed,
        "lost the process that ran {model}",
        "The server's log may say why.",
    ),
    _Known(r"timed out waiting for llama", LoadFailed, "could not load {model} in time", "{to_load_longer}"),
    _Known(
        r"error loading model|failed to load|process has terminated|exceeds file size|invalid file magic",
        LoadFailed,
        "cannot load {model}",
        "{to_get_model}",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorContext:
    """What a request was about, for the messages of its errors.

    Args:
        model: The model's name on the server.
        to_get_model: What to type so that the server has the model.
        to_raise_context: How to have a larger context window: an option that takes the number of tokens, or where it
            is set.
        to_load_longer: What to do where the server gives up loading a model.
        to_get_access: What to do where the server forbids something without a reason.
        redact: Removes secrets from a text.
        is_raw: Whether plain text was to be continued, which not every server does.
    """

    address: Address
    model: str
    to_get_model: str
    to_raise_context: str = "--ctx"
    to_load_longer: str = "Ask again, or give it more time where it is started."
    to_get_access: str = TO_SET_KEY
    redact: Callable[[str], str] = str
    is_raw: bool = False

    @property
    def to_need_less(self) -> str:
        """What to do where the memory is too small; our own options help only where the engine takes them."""
        if self.to_raise_context == "--ctx":
            return "Try --ctx 2048, fewer --gpu-layers, or a smaller model."
        return "Start it with a smaller context or fewer layers on the GPU, or use a smaller model."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """An error as a server describes it."""

    message: str
    kind: str = ""
    prompt_tokens: int | None = None
    context: int | None = None

    @classmethod
    def from_value(cls, value: object, redact: Callable[[str], str] = str) -> "ServerError":
        """The error in VALUE: a text, an object, a list of them, or JSON once more inside a text."""
        for _ in range(_MOST_WRAPPINGS):
            value = _unwrap(value)
        if not isinstance(value, dict):
            return cls(message="" if value is None else _shorten(redact(_to_text(value))))
        code = value.get("code")
        kind = code if isinstance(code, str) else value.get("type")
        return cls(
            message=_shorten(redact(_to_text(_first(value, "message", "msg") or value))),
            kind=_shorten(redact(kind)) if isinstance(kind, str) else "",
            prompt_tokens=_to_count(value.get("n_prompt_tokens")),
            context=_to_count(value.get("n_ctx")),
        )


def error_from_reply(reply: Reply, context: ErrorContext) -> LocalLLMError:
    """The error that a reply whose status is not 200 means."""
    if reply.is_html:
        error = ServerError(message=_title(reply, context))
    else:
        error = ServerError.from_value(_text(reply), context.redact)
    known = _by_access(reply, error.message, context) or _by_message(error, context)
    return known or (_web_page if reply.is_html else _by_status)(reply.status, error, context)


def raise_for_status(reply: Reply, context: ErrorContext) -> None:
    """Raise the error that a whole reply means, unless it means none."""
    if reply.status != 200:
        raise error_from_reply(reply, context)
    if reply.is_html:
        raise _web_page(reply.status, ServerError(message=_title(reply, context)), context)


def error_from_record(value: object, context: ErrorContext) -> LocalLLMError:
    """The error in an error record in the middle of a stream."""
    error = ServerError.from_value(value, context.redact)
    message = f"{context.address.url} broke off: {error.message or _NO_REASON}"
    return _by_message(error, context) or StreamBroken(message, "Ask again.")


def _by_access(reply: Reply, message: str, context: ErrorContext) -> LocalLLMError | None:
    """The error of a status that is enough by itself."""
    if 300 <= reply.status < 400:
        target = _shorten(context.redact(reply.headers.get("location", "nowhere")))
        redirected = f"{context.address.url} redirects to {target}, which was not followed."
        return DaemonError(redirected, "If you trust it, use that address.")
    if reply.status in (401, 407) or (reply.status == 403 and not reply.is_html):
        return _denied(reply, message, context)
    if reply.status == 429 or (reply.status == 503 and not reply.is_html and not reply.is_loading):
        return _busy(reply, message, context)
    return None


def _by_message(error: ServerError, context: ErrorContext) -> LocalLLMError | None:
    text = f"{error.message} {error.kind}"
    if error.prompt_tokens is not None or _TOO_LONG.search(text):
        return _too_long(error, context)
    known = next((known for known in _KNOWN if re.search(known.pattern, text, re.IGNORECASE)), None)
    if known is None:
        return None
    summary = known.summary.format(model=context.model)
    hint = known.hint.format(
        to_get_model=context.to_get_model, to_load_longer=context.to_load_longer, to_need_less=context.to_need_less
    )
    return known.kind(f"{context.address.url} {summary}: {error.message or error.kind}", hint)


def _by_status(status: int, error: ServerError, context: ErrorContext) -> LocalLLMError:
    url, message = context.address.url, error.message or _NO_REASON
    if status in (404, 405):
        if context.is_raw:
            return DaemonError(f"{url} does not continue plain text (status {status}).", "Leave --raw out.")
        return DaemonError(
            f"{url} has no such service (status {status}): {message}",
            f"Is it the right address, and the right kind of server? Type: %llm connect {url}",
        )
    if status in (400, 422):
        return BadOption(f"{url} refused the request (status {status}): {message}", "Leave out what it names.")
    return DaemonError(f"{url} failed (status {status}): {message}", "Its log may say why.")


def _web_page(status: int, error: ServerError, context: ErrorContext) -> LocalLLMError:
    """The error of a page for people: of a proxy, a login, or another program."""
    named = f" ({error.message!r})" if error.message else ""
    return DaemonError(
        f"{context.address.url} answered with a web page{named}, status {status}, and not as a model server.",
        "Is a proxy or a login in between, or another program on that port?",
    )


def _busy(reply: Reply, message: str, context: ErrorContext) -> DaemonBusy:
    after = reply.headers.get("retry-after", "")
    is_seconds = after.isdigit() and len(after) <= 5
    hint = f"Try again after {after} seconds." if is_seconds else "Try again in a moment."
    return DaemonBusy(f"{context.address.url} is busy (status {reply.status}): {message or _NO_REASON}", hint)


def _too_long(error: ServerError, context: ErrorContext) -> PromptTooLong:
    if error.prompt_tokens is None or error.context is None:
        return PromptTooLong(
            f"The prompt does not fit into the context: {error.message}",
            f"Shorten it, or raise the context with {context.to_raise_context}.",
        )
    needed = error.prompt_tokens + 512
    is_option = context.to_raise_context.rpartition(" ")[2].startswith("-")
    how = f": {context.to_raise_context} {needed}" if is_option else f" to {needed} with {context.to_raise_context}."
    return PromptTooLong(
        f"The prompt has {error.prompt_tokens:,} tokens, and the context of {context.model} holds {error.context:,}.",
        f"Shorten it, or raise the context{how}",
    )


def _denied(reply: Reply, message: str, context: ErrorContext) -> AccessDenied:
    url, status = context.address.url, reply.status
    by_proxy = proxy_denial(context.address, message or _NO_REASON) if status == 407 else None
    if by_proxy is not None:
        return by_proxy
    if status == 403 and not message:
        return AccessDenied(f"{url} forbids this, without a reason (status 403).", context.to_get_access)
    is_basic = reply.headers.get("www-authenticate", "")[:5].lower() == "basic"
    wanted = "wants a user and a password, or others" if is_basic else "wants a key, or another one"
    denial = "forbids this" if status == 403 else wanted
    hint = TO_SET_PASSWORD if is_basic else TO_SET_KEY
    return AccessDenied(f"{url} {denial} (status {status}): {message or _NO_REASON}", hint)


def _text(reply: Reply) -> str:
    return reply.body[: 64 * 2**10].decode("utf-8", "replace")


def _title(reply: Reply, context: ErrorContext) -> str:
    found = _TITLE.search(_text(reply))
    return _shorten(context.redact(html.unescape(found[1]))) if found else ""


def _unwrap(value: object) -> object:
    """What is in VALUE if it only wraps another value, else VALUE."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
        return value
    if isinstance(value, list) and value:
        return value[0]
    return _first(value, "error", "detail") or value if isinstance(value, dict) else value


def _to_text(value: object) -> str:
    """VALUE as text; none if it is nested too deeply."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def _first(value: Mapping[object, object], *names: str) -> object:
    return next((value[name] for name in names if value.get(name) not in (None, "")), None)


def _to_count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 10**12 else None


def _shorten(text: str) -> str:
    """TEXT in one line that cannot flood or steer a terminal."""
    line = " ".join(strip_control(text[: 10 * _LONGEST_MESSAGE]).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"
