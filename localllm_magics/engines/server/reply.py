"""What a server answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

_START_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response.

    Args:
        status: Its status code.
        headers: By name, in lower case.
        body: Empty as long as it is not read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_html(self) -> bool:
        """Whether it is a page for people, and so of a proxy, a login, or another program."""
        return "html" in self.headers.get("content-type", "").lower() or self.body[:_START_BYTES].lstrip()[:1] == b"<"

    @property
    def is_loading(self) -> bool:
        """Whether the server's model is still being loaded, as llama-server reports it."""
        return self.status == 503 and not self.is_html and b"oading" in self.body

    def to_json(self) -> object:
        """The body as JSON, or None if it is none."""
        try:
            value: object = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value

    def to_dict(self) -> dict[str, object]:
        """The body as a JSON object; empty if it is none."""
        value = self.to_json()
        return value if isinstance(value, dict) else {}
