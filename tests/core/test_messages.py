from typing import Any

import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import Message, TextPart, to_messages


def test_a_string_is_one_message_of_the_user() -> None:
    assert to_messages("Why?") == (Message.from_text("user", "Why?"),)


def test_the_system_prompt_comes_first() -> None:
    prompt: Any = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]

    messages = to_messages(prompt, system="Be brief.")

    assert [message.to_dict() for message in messages] == [{"role": "system", "content": "Be brief."}, *prompt]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        pytest.param([], "The prompt is an empty list.", id="empty"),
        pytest.param([{"role": "user"}], "{'role': 'user'} is not a message.", id="no content"),
        pytest.param(["Why?"], "'Why?' is not a message.", id="text in a list"),
        pytest.param([None], "None is not a message.", id="nothing in a list"),
        pytest.param(
            [{"role": "robot", "content": "x"}], "{'role': 'robot', 'content': 'x'} is not a message.", id="role"
        ),
        pytest.param(
            [{"role": ["user"], "content": "x"}], "{'role': ['user'], 'content': 'x'} is not a message.", id="list"
        ),
        pytest.param([{"role": "user", "content": 1}], "{'role': 'user', 'content': 1} is not a message.", id="number"),
    ],
)
def test_what_is_no_message_is_refused(prompt: Any, message: str) -> None:  # noqa: ANN401 - a table of mistakes
    with pytest.raises(BadOption) as caught:
        to_messages(prompt)

    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("prompt", "system", "message"),
    [
        pytest.param(None, None, "The prompt is None, not a string or a list of messages.", id="none"),
        pytest.param(5, None, "The prompt is a value of type int, not a string or a list of messages.", id="number"),
        pytest.param({}, None, "The prompt is a value of type dict, not a string or a list of messages.", id="dict"),
        pytest.param("Why?", 5, "The system prompt is a value of type int, not a string.", id="system"),
    ],
)
def test_a_prompt_of_another_type_is_refused(prompt: Any, system: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(BadOption) as caught:
        to_messages(prompt, system)

    assert caught.value.message == message


def test_a_message_can_come_in_parts() -> None:
    parts: Any = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]

    (message,) = to_messages([{"role": "user", "content": parts}])

    assert message.parts == (TextPart("What is "), TextPart("this?"))
    assert (message.text, message.to_dict()) == ("What is this?", {"role": "user", "content": "What is this?"})


@pytest.mark.parametrize(
    "content",
    [[], ["Why?"], [{"type": "image", "text": "a cat"}], [{"type": "text"}], [{"type": "text", "text": 1}], {}],
    ids=["empty", "no part", "an image", "no text", "a number", "a dict"],
)
def test_parts_of_other_kinds_are_refused(content: Any) -> None:  # noqa: ANN401 - a table of mistakes
    with pytest.raises(BadOption, match="is not a message"):
        to_messages([{"role": "user", "content": content}])
