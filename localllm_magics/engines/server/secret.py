"""An API key: how it is sent, and how it is kept out of what a server that echoes it says."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import ProgressEvent, ReasoningDelta, TextDelta
from localllm_magics.core.stop import Stopped
from localllm_magics.engines.detokenizer import overlap

_REDACTED = "…"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """KEY as the user has set it: a token, or `Basic USER:PASSWORD` for a proxy in front of the server.

    Args:
        proxy_login: `USER:PASSWORD` for the proxy of the environment, which may echo it as well.
    """

    key: str = ""
    proxy_login: str = ""

    @property
    def authorization(self) -> str:
        """The value of the header."""
        scheme, value = self._split()
        return f"{scheme} {_encoded(value) if scheme == 'Basic' else value}"

    def redact(self, text: str) -> str:
        """TEXT, such as an error of a server, without it."""
        text = _replaced(text, self._no_words_of_answers())
        for word in self._words():
            text = text.replace(word, _REDACTED)
        return text

    def redact_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """HEADERS without it, as tracebacks may show them."""
        words = self._no_words_of_answers()
        return {_replaced(name, words): _replaced(value, words) for name, value in headers.items()}

    def redact_body(self, body: bytes) -> bytes:
        """BODY without it, however JSON may have escaped it."""
        words = self._no_words_of_answers()
        for word in words:
            body = re.sub(re.escape(word.encode()), _REDACTED.encode(), body, flags=re.IGNORECASE)
        if not words or b"\\" not in body:
            return body
        try:
            text = json.dumps(json.loads(body), ensure_ascii=False)
        except (ValueError, RecursionError):
            return body
        clean = _replaced(text, [json.dumps(word)[1:-1] for word in words])
        return body if clean == text else clean.encode("utf-8", "surrogatepass")

    def redact_events(self, events: Iterable[ProgressEvent]) -> Iterator[ProgressEvent]:
        """EVENTS without it, in however many pieces it comes."""
        held: list[TextDelta | ReasoningDelta] = []  # at most one, that may be its start
        try:
            for event in events:
                if held and type(held[0]) is not type(event):
                    yield held.pop()
                if isinstance(event, TextDelta | ReasoningDelta):
                    shown, start = self._without_start("".join(one.text for one in held) + event.text)
                    yield replace(event, text=shown)
                    held = [replace(event, text=start, tokens=0)] if start else []
                else:
                    yield event
        except (LocalLLMError, Stopped):
            yield from held
            raise
        yield from held

    def _without_start(self, text: str) -> tuple[str, str]:
        """TEXT without it, and in two: the second may be its start."""
        words = self._no_words_of_answers()
        text = _replaced(text, words)
        end = len(text) - max((overlap(text, word) for word in words), default=0)
        return text[:end], text[end:]

    def _split(self) -> tuple[str, str]:
        scheme, _, value = self.key.partition(" ")
        scheme = scheme.capitalize()
        return (scheme, value.strip()) if scheme in ("Basic", "Bearer") and value else ("Bearer", self.key)

    def _no_words_of_answers(self) -> list[str]:
        """Without `lm-studio`, `not-needed` and the like, which answers and the names of models have too."""
        return [word for word in self._words() if len(word) >= 24 or (len(word) >= 8 and re.search(r"\d", word))]

    def _words(self) -> list[str]:
        """What must not be shown, the longest first."""
        scheme, value = self._split()
        words = {value} if scheme == "Bearer" else set()
        for login in (value if scheme == "Basic" else "", self.proxy_login):
            words |= {login, _encoded(login), login.partition(":")[2]}
        return sorted(filter(None, words), key=len, reverse=True)


def _encoded(value: str) -> str:
    """`USER:PASSWORD` in base64; what has no colon is already."""
    return base64.b64encode(value.encode()).decode() if ":" in value else value


def _replaced(text: str, words: Iterable[str]) -> str:
    """TEXT without WORDS, in whatever case: some echoes are in lower case."""
    for word in words:
        text = re.sub(re.escape(word), _REDACTED, text, flags=re.IGNORECASE)
    return text
