"""Why a server refused: from a status and a body, or an error record, to one of our errors."""

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.keys import TO_SET_KEY

_MOST_WORDS = 300
_MOST_WRAPPINGS = 6
_NO_REASON = "no reason given"
_TITLE = re.compile(r"<title[^>]{0,100}>(.{0,300}?)</title", re.IGNORECASE | re.DOTALL)
_TOO_LONG = re.compile(
    r"exceeds? the available context|context length|context_length_exceeded|prompt is too long|longer than the context",
    re.IGNORECASE,
)
# What servers write, in the order in which it is looked for; an empty hint says how to get the model.
_CAUSES: tuple[tuple[re.Pattern[str], type[LocalLLMError], str, str], ...] = (
    (
        re.compile(r"model.{0,200}(not found|does not exist|not exist|is not loaded)|no such model", re.IGNORECASE),
        ModelNotInDaemon,
        "does not have {model}",
        "",
    ),
    (
        re.compile(r"HTTP request.{0,20} to (an )?HTTPS", re.IGNORECASE),
        DaemonNotReachable,
        "wants TLS",
        "Write its address with https://.",
    ),
    (
        re.compile(r"not support thinking", re.IGNORECASE),
        BadOption,
        "has no reasoning for {model}",
        "Leave --think out.",
    ),
    (
        re.compile(r"not support (chat|generate|completion)", re.IGNORECASE),
        BadOption,
        "makes no text with {model}",
        "Take a chat model instead. To see what it has, type: %llm models",
    ),
    (
        re.compile(r"system memory|out of memory|(unable|failed) to allocate|OutOfMemory", re.IGNORECASE),
        NotEnoughMemory,
        "has too little memory for {model}",
        "Try --ctx 2048, fewer --gpu-layers, or a smaller model.",
    ),
    (
        re.compile(r"unknown model architecture", re.IGNORECASE),
        UnsupportedArchitecture,
        "does not know the architecture of {model}",
        "Bring the server up to date, or take another model.",
    ),
    (
        re.compile(r"signal: |segmentation fault|illegal instruction|has unexpectedly stopped", re.IGNORECASE),
        EngineCrashed,
        "lost the process that ran {model}",
        "The server's log may say why.",
    ),
    (
        re.compile(r"timed out waiting for llama", re.IGNORECASE),
        LoadFailed,
        "could not load {model} in time",
        "Ask again, or give it more time where it is started: OLLAMA_LOAD_TIMEOUT=15m ollama serve",
    ),
    (
        re.compile(
            r"error loading model|failed to load|process has terminated|exceeds file size|invalid file magic",
            re.IGNORECASE,
        ),
        LoadFailed,
        "cannot load {model}",
        "",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorContext:
    """What was asked of whom, for the words of an error.

    Args:
        address: The server.
        model: The model's name there.
        to_get_model: What to type so that the server has the model.
        to_raise_context: How to have a larger context: an option that takes the number of tokens, or where to set it.
        to_be_let_in: What to do where the server forbids something without a reason.
        redact: Takes secrets out of a text.
    """

    address: Address
    model: str
    to_get_model: str
    to_raise_context: str = "--ctx"
    to_be_let_in: str = TO_SET_KEY
    redact: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a server says of an error."""

    message: str
    kind: str = ""
    prompt_tokens: int | None = None
    context: int | None = None

    @classmethod
    def from_value(cls, value: object, redact: Callable[[str], str] = str) -> "Words":
        """The error in VALUE: a text, an object, a list of them, or JSON once more inside a text.

        Args:
            value: What the server said.
            redact: Takes secrets out of a text.
        """
        for _ in range(_MOST_WRAPPINGS):
            value = _unwrapped(value)
        if not isinstance(value, dict):
            return cls(message="" if value is None else _bounded(redact(_written(value))))
        code = value.get("code")
        kind = code if isinstance(code, str) else value.get("type")
        return cls(
            message=_bounded(redact(_written(_first(value, "message", "msg") or value))),
            kind=_bounded(redact(kind)) if isinstance(kind, str) else "",
            prompt_tokens=_count(value.get("n_prompt_tokens")),
            context=_count(value.get("n_ctx")),
        )


def refusal(status: int, headers: Mapping[str, str], body: bytes, asked: ErrorContext) -> LocalLLMError:
    """The error that an answer with STATUS, which is not 200, stands for."""
    text = body[: 64 * 1024].decode("utf-8", "replace")
    is_page = "html" in headers.get("content-type", "").lower() or text.lstrip()[:1] == "<"
    words = Words(message=_title(text, asked)) if is_page else Words.from_value(text, asked.redact)
    if 300 <= status < 400:
        target = _bounded(asked.redact(headers.get("location", "nowhere")))
        what = f"{asked.address.url} redirects to {target}, which was not followed."
        return DaemonError(what, "If you trust it, use that address.")
    if status in (401, 407) or (status == 403 and not is_page):
        return _denied(status, words.message, asked)
    if status == 429 or (status == 503 and not is_page and "loading" not in words.message.lower()):
        return _busy(status, headers, words.message, asked)
    known = _by_words(words, asked)
    if known is not None:
        return known
    return web_page(status, text, asked) if is_page else _by_status(status, words.message or _NO_REASON, asked)


def raise_for_status(status: int, headers: Mapping[str, str], body: bytes, asked: ErrorContext) -> None:
    """Raise the error that a whole answer stands for, unless it is none."""
    if status != 200:
        raise refusal(status, headers, body, asked)
    if "html" in headers.get("content-type", "").lower():
        raise web_page(status, body[: 64 * 1024].decode("utf-8", "replace"), asked)


def broken_off(value: object, asked: ErrorContext) -> LocalLLMError:
    """The error of an error record in the middle of an answer."""
    words = Words.from_value(value, asked.redact)
    known = _by_words(words, asked)
    if known is not None:
        return known
    return StreamBroken(
        f"{asked.address.url} broke off: {words.message or _NO_REASON}", "The text so far is kept. Ask again."
    )


def web_page(status: int, text: str, asked: ErrorContext) -> LocalLLMError:
    """The error of an answer that is a page for people: of a proxy, a login, or another program."""
    title = _title(text, asked)
    named = f" ({title!r})" if title else ""
    return DaemonError(
        f"{asked.address.url} answered with a web page{named}, status {status}, and not as a model server.",
        "Is a proxy or a login in between, or another program on that port?",
    )


def _by_words(words: Words, asked: ErrorContext) -> LocalLLMError | None:
    text = f"{words.message} {words.kind}"
    if words.prompt_tokens is not None or _TOO_LONG.search(text):
        return _too_long(words, asked)
    for pattern, error, sentence, hint in _CAUSES:
        if pattern.search(text):
            message = f"{asked.address.url} {sentence.format(model=asked.model)}: {words.message or words.kind}"
            return error(message, hint or asked.to_get_model)
    return None


def _by_status(status: int, message: str, asked: ErrorContext) -> LocalLLMError:
    url = asked.address.url
    if status in (404, 405):
        return DaemonError(
            f"{url} has no such service (status {status}): {message}",
            f"Is it the right address, and the right kind of server? Type: %llm connect {url}",
        )
    if status in (400, 422):
        return BadOption(f"{url} refused the request (status {status}): {message}", "Leave out what it names.")
    return DaemonError(f"{url} failed (status {status}): {message}", "Its log may say why.")


def _busy(status: int, headers: Mapping[str, str], message: str, asked: ErrorContext) -> DaemonBusy:
    after = headers.get("retry-after", "")
    is_told = after.isdigit() and len(after) < 6
    hint = f"Try again after {after} seconds." if is_told else "Try again in a moment."
    return DaemonBusy(f"{asked.address.url} is busy (status {status}): {message or _NO_REASON}", hint)


def _too_long(words: Words, asked: ErrorContext) -> PromptTooLong:
    if words.prompt_tokens is None or words.context is None:
        return PromptTooLong(
            f"The prompt does not fit into the context: {words.message}",
            f"Shorten it, or raise the context with {asked.to_raise_context}.",
        )
    enough = words.prompt_tokens + 512
    is_option = asked.to_raise_context.rpartition(" ")[2].startswith("-")
    to_raise = f": {asked.to_raise_context} {enough}" if is_option else f" to {enough} with {asked.to_raise_context}."
    return PromptTooLong(
        f"The prompt has {words.prompt_tokens:,} tokens, and the context of {asked.model} holds {words.context:,}.",
        f"Shorten it, or raise the context{to_raise}",
    )


def _denied(status: int, message: str, asked: ErrorContext) -> AccessDenied:
    url = asked.address.url
    if status == 403 and not message:
        return AccessDenied(f"{url} forbids this, without a reason (status 403).", asked.to_be_let_in)
    what = "forbids this" if status == 403 else "wants a key, or another one"
    return AccessDenied(f"{url} {what} (status {status}): {message or _NO_REASON}", TO_SET_KEY)


def _title(text: str, asked: ErrorContext) -> str:
    found = _TITLE.search(text)
    return _bounded(asked.redact(html.unescape(found[1]))) if found else ""


def _unwrapped(value: object) -> object:
    """What VALUE holds if it is only a wrapping, else VALUE."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            parsed: object = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return parsed
    if isinstance(value, list) and value:
        return value[0]
    return _first(value, "error", "detail") or value if isinstance(value, dict) else value


def _written(value: object) -> str:
    """VALUE as text; one without an end in sight has none."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""


def _first(value: Mapping[object, object], *names: str) -> object:
    return next((value[name] for name in names if value.get(name) not in (None, "")), None)


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return value if is_count else None  # type: ignore[return-value] # a whole number


def _bounded(text: str) -> str:
    """TEXT in one line that cannot flood or steer a terminal."""
    line = " ".join(strip_control(text[: 10 * _MOST_WORDS]).split())
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]}…"
