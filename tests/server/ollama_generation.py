"""What Ollama does with a prompt: fit it into the window, ask llama-server, and tell the answer line by line."""

import json
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.server.http_server import Connection
from tests.server.ollama_runners import Runner
from tests.server.ollama_wire import Refusal, now
from tests.server.upstream import Upstream, UpstreamDied, ask

Lines = Generator[dict[str, Any], None, None]

_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0}
_SAME_NAMES = {
    *_DEFAULTS,
    *"typical_p repeat_penalty repeat_last_n presence_penalty frequency_penalty seed".split(),
}
_KEEP = 4
_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
    "context length in settings, or use a model with a longer context length"
)
_DIED = "an error was encountered while running the model: unexpected EOF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One answer to be given.

    Args:
        body: That of `/api/chat` or, without `messages`, of `/api/generate`.
        started: When the request came, on the monotonic clock.
        is_endless: Go on where the model would stop.
    """

    body: dict[str, Any]
    runner: Runner
    client: Connection
    started: float
    is_endless: bool = False

    def lines(self) -> Lines:
        """The lines of the answer as they come; the last is an error when the engine dies on the way.

        Raises:
            Refusal: There will be no answer; this comes before the first line.
        """
        has_spoken = False
        try:
            with closing(self._lines()) as lines:
                for line in lines:
                    yield line
                    has_spoken = True
        except UpstreamDied as exc:
            if not has_spoken:
                raise Refusal(500, _DIED) from exc
            yield {"error": _DIED}

    def whole(self) -> dict[str, Any]:
        """The answer as one object, for `stream: false`."""
        *lines, last = self.lines()
        if "error" in last:
            raise Refusal(500, last["error"])
        return last | said(self.body, "".join(map(_text, [*lines, last])))

    def _lines(self) -> Lines:
        loaded = time.monotonic()
        prompt = self._fitting_prompt()
        with Upstream(self.runner.server.port, "/completion", self._question(prompt), self.client) as upstream:
            if (status := upstream.status()) != 200:
                raise Refusal(status, b"".join(upstream.body()).decode())
            yield from self._told(upstream, prompt, loaded)

    def _told(self, upstream: Upstream, prompt: list[int], loaded: float) -> Lines:
        tokens = list(prompt)
        for event in upstream.events():
            if event["stop"]:
                yield {**self._line(event["content"]), "done": True, **self._end(event, tokens, loaded)}
                return
            if event["content"]:
                tokens += event["tokens"]
                yield self._line(event["content"])
        raise UpstreamDied

    def _line(self, text: str) -> dict[str, Any]:
        return {"model": self.body["model"], "created_at": now(), **said(self.body, text), "done": False}

    def _end(self, event: dict[str, Any], tokens: list[int], loaded: float) -> dict[str, Any]:
        timings = event["timings"]
        has_context = "messages" not in self.body and not self.body.get("raw")
        counters = {
            "total_duration": _nanoseconds(time.monotonic() - self.started),
            "load_duration": _nanoseconds(loaded - self.started),
            "prompt_eval_count": timings["cache_n"] + timings["prompt_n"],
            "prompt_eval_duration": _nanoseconds(timings["prompt_ms"] / 1000),
            "eval_count": timings["predicted_n"],
            "eval_duration": _nanoseconds(timings["predicted_ms"] / 1000),
        }
        return {
            "done_reason": "length" if event["stop_type"] == "limit" else "stop",
            **({"context": tokens} if has_context else {}),
            **{name: value for name, value in counters.items() if value},
        }

    def _question(self, prompt: list[int]) -> dict[str, Any]:
        options = {name: value for name, value in (self.body.get("options") or {}).items() if value is not None}
        return {
            "prompt": prompt,
            "stream": True,
            "n_predict": options.get("num_predict") or -1,  # none means no limit, and so does 0
            "n_keep": options.get("num_keep", _KEEP),
            "stop": [*([] if self.is_endless else self.runner.model.stops), *options.get("stop", [])],
            "ignore_eos": self.is_endless,
            **_DEFAULTS,
            **{name: value for name, value in options.items() if name in _SAME_NAMES},
            **_format(self.body.get("format")),
        }

    def _fitting_prompt(self) -> list[int]:
        """The tokens of the prompt, cut as Ollama cuts them unless `truncate` is false."""
        messages = self._messages()
        prompt = self._tokens(messages)
        window = self.runner.load.num_ctx
        if len(prompt) < window or self.body.get("truncate") is False:
            return prompt
        while len(prompt) >= window and (oldest := _droppable(messages)) is not None:
            messages.pop(oldest)
            prompt = self._tokens(messages)
        if len(prompt) < window:
            return prompt
        if self.body.get("shift") is False:
            raise Refusal(400, _TOO_LONG)
        return prompt[:_KEEP] + prompt[-((window - _KEEP) // 2) :]

    def _messages(self) -> list[dict[str, Any]]:
        if "messages" in self.body:
            return list(self.body["messages"])
        system = {"role": "system", "content": self.body.get("system", "")}
        return [*([system] if system["content"] else []), {"role": "user", "content": self.body["prompt"]}]

    def _tokens(self, messages: list[dict[str, Any]]) -> list[int]:
        port = self.runner.server.port
        text = self.body.get("prompt")
        if not self.body.get("raw"):
            text = ask(port, "/apply-template", {"messages": messages}, self.client)["prompt"]
        question = {"content": text, "add_special": True, "parse_special": True}
        tokens: list[int] = ask(port, "/tokenize", question, self.client)["tokens"]
        return tokens


def said(body: dict[str, Any], text: str) -> dict[str, Any]:
    """TEXT where the answer to BODY has it."""
    return {"message": {"role": "assistant", "content": text}} if "messages" in body else {"response": text}


def _text(line: dict[str, Any]) -> str:
    return str(line["message"]["content"] if "message" in line else line["response"])


def _droppable(messages: list[dict[str, Any]]) -> int | None:
    """The oldest message that is not the system's, and not the last."""
    return next((i for i, message in enumerate(messages[:-1]) if message["role"] != "system"), None)


def _format(wanted: object) -> dict[str, Any]:
    if wanted in (None, ""):
        return {}
    if wanted == "json":
        return {"json_schema": {"type": "object"}}
    if isinstance(wanted, dict):
        return {"json_schema": wanted}
    shown = json.dumps(json.dumps(wanted))
    raise Refusal(500, f'invalid format: {shown}; expected "json" or a valid JSON Schema object')


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
