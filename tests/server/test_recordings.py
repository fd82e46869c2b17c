import pytest

from tests.server.recordings import Server, load, names


@pytest.mark.parametrize("server", ["ollama", "llama-server"])
def test_every_recording_can_be_read(server: Server) -> None:
    exchanges = {name: load(server, name) for name in names(server)}

    assert exchanges
    assert all(exchanges.values())


def test_a_recording_keeps_order_frames_and_bodies() -> None:
    chat, ps = load("ollama", "chat-cold")

    assert (chat.request.path, ps.request.path) == ("/api/chat", "/api/ps")
    assert chat.request.json["model"] == "demo"
    assert len(chat.response.frames) == 25
    assert all(frame.data.endswith(b"\n") for frame in chat.response.frames)
    assert ps.response.body.startswith(b'{"models":[{')


def test_a_body_that_is_no_json_is_kept_as_text() -> None:
    bodies = [exchange.request.body for exchange in load("ollama", "errors-before-stream")]

    assert b"{not json" in bodies


def test_the_end_of_a_body_is_told() -> None:
    ends = [exchange.response.end for exchange in load("llama-server", "server-dies")]

    assert "closed by the server in the middle of the body" in ends
