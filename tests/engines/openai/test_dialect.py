"""The exact request for each kind of server."""

from collections.abc import Mapping

import pytest

from localllm_magics.core.messages import Message
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.openai.dialect import to_body
from localllm_magics.engines.openai.identity import ServerKind
from localllm_magics.engines.think_options import think_options

MESSAGES = (Message.from_text("system", "Be kind."), Message.from_text("user", "Hi"))
SENT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
USAGE = {"include_usage": True}
PLAIN = {"model": "m", "messages": SENT, "stream": True, "stream_options": USAGE}
TELLS_MORE = {"timings_per_token": True, "return_progress": True}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
NAMED = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
LLAMA_CPP = (ServerKind.LLAMA_SERVER, ServerKind.ROUTER)
ALL = Sampling(
    temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, repeat_penalty=1.1, seed=7, max_tokens=5, stop=("END", "\n")
)
SET = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "seed": 7, "stop": ["END", "\n"]}


def body(kind: ServerKind, sampling: Sampling = Sampling(), **fields: object) -> Mapping[str, object]:
    return to_body(Request(messages=MESSAGES, **fields), kind, "m", sampling)  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("kind", ServerKind)
def test_what_nobody_set_is_not_sent(kind: ServerKind) -> None:
    extras = TELLS_MORE if kind in LLAMA_CPP else {}
    usage = {"stream_options": {**USAGE, "continuous_usage_stats": True}} if kind is ServerKind.VLLM else {}

    assert body(kind) == {**PLAIN, **extras, **usage}


@pytest.mark.parametrize("kind", ServerKind)
def test_what_the_user_set_is_sent_to_all(kind: ServerKind) -> None:
    penalty = "repetition_penalty" if kind is ServerKind.VLLM else "repeat_penalty"

    added = {name: value for name, value in body(kind, ALL).items() if name not in body(kind)}
    assert added == {**SET, "max_tokens": 5, penalty: 1.1}


@pytest.mark.parametrize("kind", ServerKind)
def test_plain_text_is_a_prompt(kind: ServerKind) -> None:
    request = Request(messages=MESSAGES[1:], raw=True)

    sent = to_body(request, kind, "m", Sampling(max_tokens=5))

    limit = "n_predict" if kind is ServerKind.LLAMAFILE else "max_tokens"
    assert (sent["prompt"], sent[limit]) == ("Hi", 5)
    assert "messages" not in sent


@pytest.mark.parametrize("is_wanted", [True, False])
@pytest.mark.parametrize("kind", ServerKind)
def test_reasoning_is_switched_in_the_template_or_by_its_effort(kind: ServerKind, *, is_wanted: bool) -> None:
    in_template = {"chat_template_kwargs": think_options(is_wanted=is_wanted)}
    by_effort = {"reasoning_effort": "medium" if is_wanted else "none"}

    expected = in_template if kind in (*LLAMA_CPP, ServerKind.VLLM) else by_effort
    assert body(kind, think=is_wanted) == {**body(kind), **expected}


@pytest.mark.parametrize("kind", ServerKind)
def test_a_schema_is_named_where_the_server_knows_names(kind: ServerKind) -> None:
    expected = {"type": "json_object", "schema": SCHEMA} if kind is ServerKind.LLAMA_CPP_SERVER else NAMED

    assert body(kind, schema=SCHEMA) == {**body(kind), "response_format": expected}


@pytest.mark.parametrize("kind", LLAMA_CPP)
def test_llama_cpp_takes_a_schema_for_plain_text_in_a_field_of_its_own(kind: ServerKind) -> None:
    sent = to_body(Request(messages=MESSAGES[1:], raw=True, schema=SCHEMA), kind, "m", Sampling())

    assert sent["json_schema"] == SCHEMA
    assert "response_format" not in sent


def test_no_model_is_named_where_none_is_known() -> None:
    sent = to_body(Request(messages=MESSAGES), ServerKind.OTHER, "", Sampling())

    assert sent == {name: value for name, value in PLAIN.items() if name != "model"}
