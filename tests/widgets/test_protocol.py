"""What the page and the kernel say to each other has the same shape on both sides: `protocol.test.mjs` is the other."""

import json
from pathlib import Path

import pytest

from localllm_magics.widgets.protocol import Answer, Command, Row, Status, has_shape, to_command

MESSAGES = json.loads(Path(__file__).with_name("messages.json").read_text("utf-8"))
SHAPES = {"commands": Command, "answers": Answer, "rows": Row, "statuses": Status}


@pytest.mark.parametrize("name", SHAPES)
def test_known_messages_have_their_shape(name: str) -> None:
    assert [message for message in MESSAGES[name] if not has_shape(message, SHAPES[name])] == []


@pytest.mark.parametrize("name", SHAPES)
def test_wrong_messages_are_refused(name: str) -> None:
    assert [message for message in MESSAGES["wrong"][name] if has_shape(message, SHAPES[name])] == []


@pytest.mark.parametrize("name", SHAPES)
def test_a_message_without_a_key_is_refused(name: str) -> None:
    shorter = [{k: v for k, v in message.items() if k != key} for message in MESSAGES[name] for key in message]

    assert [message for message in shorter if has_shape(message, SHAPES[name])] == []


def test_what_is_no_command_says_what_came() -> None:
    assert to_command(MESSAGES["commands"][0])["kind"] == "load"
    with pytest.raises(ValueError, match="erase"):
        to_command({"kind": "erase", "id": "1"})
