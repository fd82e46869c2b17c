"""Two engines, each with what its server says: how the same fault looks to both."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.catalog.server_reference import resolve_server_reference
from localllm_magics.core.events import Done, Event, Failed, ReasoningDelta, Terminal, TextDelta
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.engines.stream import Stream
from localllm_magics.model import Model
from tests.server.faults import InTurn, Send, Steps
from tests.server.http_bytes import chunk, chunked_head, http_response

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What a kind of server sends; a record is a line, or an event."""

    engine: str
    path: str
    content_type: str
    others: Mapping[str, Steps | InTurn]
    start: bytes
    stop: bytes
    last: bytes

    @property
    def head(self) -> bytes:
        return chunked_head(self.content_type)

    def record(self, data: bytes) -> bytes:
        """DATA as a record."""
        return self.start + data + self.stop

    def piece(self, text: str) -> bytes:
        """A record with TEXT."""
        return self.piece_of(json.dumps(text).encode())

    def piece_of(self, literal: bytes) -> bytes:
        """A record with the text that LITERAL, in JSON, stands for."""
        if self.engine == "ollama":
            return self.record(b'{"message":{"role":"assistant","content":%b},"done":false}' % literal)
        return self.record(b'{"choices":[{"index":0,"delta":{"content":%b},"finish_reason":null}]}' % literal)

    def answer(self, *texts: str) -> list[bytes]:
        """The records of a whole answer."""
        return [*(self.piece(text) for text in texts), self.last]

    def script(self, chat: Steps | InTurn) -> dict[str, Steps | InTurn]:
        """What a server does that is faultless but for CHAT."""
        return {**self.others, self.path: chat}

    def model(self, address: str) -> Model:
        """The model `m` of the server at ADDRESS, as a user gets it."""
        info = resolve_server_reference(f"{self.engine}:m@{address}", Path())
        return Model(new_engine(info, LoadOptions(), ServerSettings()), info)


OLLAMA = Wire(
    engine="ollama",
    path="/api/chat",
    content_type="application/x-ndjson",
    others={
        "/api/show": [Send(http_response(200, JSON, b"{}"))],
        "/api/version": [Send(http_response(200, JSON, b'{"version":"0.33.0"}'))],
        "/api/ps": [Send(http_response(200, JSON, b'{"models":[]}'))],
    },
    start=b"",
    stop=b"\n",
    last=b'{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":2}\n',
)
OPENAI = Wire(
    engine="openai",
    path="/v1/chat/completions",
    content_type="text/event-stream",
    others={"/v1/models": [Send(http_response(200, JSON, b'{"data":[{"id":"m"}]}'))]},
    start=b"data: ",
    stop=b"\n\n",
    last=b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
)


def sent(*frames: bytes) -> Send:
    """FRAMES, a chunk each, without an end."""
    return Send(b"".join(chunk(frame) for frame in frames))


def outcome(model: Model) -> Terminal:
    """How an answer ends; that it ends once, with all the text that came, is checked."""
    with model.stream("Hi") as stream:
        return ending(stream)


def ending(stream: Stream) -> Terminal:
    """How STREAM ends; see `outcome`."""
    events = list(stream)
    last = events[-1]
    assert isinstance(last, Done | Failed)
    assert [event for event in events if isinstance(event, Done | Failed)] == [last]
    assert "".join(_texts(events)) == last.completion.text
    if isinstance(last, Failed):
        assert last.error.message
        assert last.error.hint
        assert last.completion.error is not None
        assert last.completion.finish_reason == "error"
    return last


def _texts(events: list[Event]) -> Iterator[str]:
    assert not any(isinstance(event, ReasoningDelta) for event in events)
    return (event.text for event in events if isinstance(event, TextDelta))
