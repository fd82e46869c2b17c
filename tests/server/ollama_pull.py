"""What `/api/pull` tells while it downloads, and when it cannot."""

import threading
from typing import Any

from tests.server.http_server import Connection
from tests.server.ollama_generation import Lines
from tests.server.ollama_wire import Refusal, full_name

PULLABLE = "tiny:latest"
"""The one model that can be pulled."""
_LAYERS = {"a1" * 32: 3_000_000, "b2" * 32: 400}
_PARTS = 4


def check_name(name: str) -> None:
    """Refuse what can be no model's name."""
    if not name or " " in name:
        raise Refusal(400, "invalid model name")


def pull(name: str, may_finish: threading.Event, client: Connection) -> Lines:
    """The lines of pulling NAME, half of which come before MAY_FINISH."""
    yield {"status": "pulling manifest"}
    if full_name(name) != PULLABLE:
        yield {"error": "pull model manifest: file does not exist"}
        return
    for part in range(_PARTS + 1):
        if part > _PARTS / 2:
            client.wait(may_finish)
        for digest, total in _LAYERS.items():
            yield _progress(digest, total, total * part // _PARTS)
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield {"status": status}


def _progress(digest: str, total: int, completed: int) -> dict[str, Any]:
    line = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": total}
    return {**line, "completed": completed} if completed else line
