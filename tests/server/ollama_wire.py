"""How Ollama writes values, and what it refuses."""

import json
import math
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.server.http_server import Received

FOREVER = 292 * 365.25 * 86400
"""The longest time that Go can count, some 292 years."""
KEEP_ALIVE = 300.0
DEFAULT_CTX = 4096

_GO_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_INTEGERS = "num_ctx num_gpu num_thread num_batch num_predict num_keep seed top_k repeat_last_n".split()
_FLOATS = "temperature top_p min_p typical_p repeat_penalty presence_penalty frequency_penalty".split()
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Refusal(Exception):
    """An answer with an error STATUS and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def to_json(value: object) -> bytes:
    """VALUE as Go's encoder writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_GO_ESCAPES).encode()


def timestamp(seconds: float) -> str:
    """A time since the epoch, as in `created_at`."""
    date = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return date.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def now() -> str:
    """The present, as in `created_at`."""
    return timestamp(time.time())


def full_name(name: str) -> str:
    """NAME with its tag."""
    return name if ":" in name else f"{name}:latest"


def request_body(request: Received, *, no_model: str = "model is required") -> dict[str, Any]:
    """The body of a request that names a model, its types checked; NO_MODEL is said where it names none.

    Raises:
        Refusal: It is not such a body.
    """
    if not request.body:
        raise Refusal(400, "missing request body")
    try:
        body = request.json
    except ValueError as exc:
        raise Refusal(400, "invalid character 'n' looking for beginning of object key string") from exc
    if not isinstance(body, dict) or not body.get("model"):
        raise Refusal(400, no_model)
    _check_options(body.get("options") or {})
    return body


def keep_alive(body: dict[str, Any]) -> float:
    """How many seconds BODY wants the model to stay in memory.

    Raises:
        Refusal: It says so in no way that Go reads.
    """
    match body.get("keep_alive"):
        case None:
            return KEEP_ALIVE
        case int() | float() as seconds:
            return FOREVER if seconds < 0 else float(seconds)
        case text:
            return _duration(str(text))


def _duration(text: str) -> float:
    parts = re.findall(r"([\d.]+)(ms|s|m|h)", text)
    if "".join(map("".join, parts)) != text.removeprefix("-") or not parts:
        raise Refusal(400, f'time: missing unit in duration "{text}"')
    return FOREVER if text.startswith("-") else math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


def _check_options(options: dict[str, Any]) -> None:
    for names, types, wanted in ((_INTEGERS, int, "integer"), (_FLOATS, (int, float), "float32")):
        for name in names:
            value = options.get(name)
            if value is not None and not isinstance(value, types) and not _is_whole(value):
                raise Refusal(500, f'option "{name}" must be of type {wanted}')


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()
