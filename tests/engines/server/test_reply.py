from collections.abc import Mapping

import pytest

from localllm_magics.engines.server.reply import Reply


@pytest.mark.parametrize(
    ("headers", "body", "is_html"),
    [
        pytest.param({"content-type": "text/html; charset=utf-8"}, b"", True, id="by its type"),
        pytest.param({"content-type": "application/XHTML+xml"}, b"", True, id="by another type"),
        pytest.param({"content-type": "text/plain"}, b"\n <!DOCTYPE html>", True, id="by its start"),
        pytest.param({}, b"<html>", True, id="without a type"),
        pytest.param({"content-type": "application/json"}, b'{"html":1}', False, id="JSON"),
        pytest.param({}, b"", False, id="nothing"),
    ],
)
def test_a_page_for_people_is_recognized(headers: Mapping[str, str], body: bytes, is_html: bool) -> None:
    assert Reply(200, headers, body).is_html is is_html


@pytest.mark.parametrize(
    ("status", "body", "is_loading"),
    [
        pytest.param(503, b'{"error":{"message":"Loading model"}}', True, id="llama-server"),
        pytest.param(503, b"model is loading", True, id="in the middle"),
        pytest.param(503, b"busy", False, id="busy"),
        pytest.param(503, b"<html>Loading", False, id="a page"),
        pytest.param(500, b"Loading model", False, id="another status"),
    ],
)
def test_a_server_that_loads_is_recognized(status: int, body: bytes, is_loading: bool) -> None:
    assert Reply(status, {}, body).is_loading is is_loading


@pytest.mark.parametrize("body", [b"", b"no", b"\xff", b'{"a":' * 20000, b"[1]", b"null", b"1" * 5000])
def test_a_body_that_is_no_object_is_empty(body: bytes) -> None:
    assert Reply(200, {}, body).to_dict() == {}
