"""What a server answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response; its headers are in lower case, and its body is empty as long as it is not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_html(self) -> bool:
        """Whether it is a page for people, and so of a proxy, a login, or another program."""
        return "html" in self.headers.get("content-type", "").lower() or self.body[:1000].lstrip()[:1] == b"<"

    @property
    def is_loading(self) -> bool:
        """Whether the server's model is still being loaded, as llama-server reports it."""
        return self.status == 503 and not self.is_html and b"oading" in self.body

    def to_dict(self) -> dict[str, object]:
        """The body as a JSON object; empty if it is none."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}
