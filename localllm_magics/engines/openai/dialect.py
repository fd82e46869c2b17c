"""What a request looks like to each kind of server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from localllm_magics.core.request import Request, Sampling
from localllm_magics.engines.openai.identity import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a kind of server differs from OpenAI's own API.

    Args:
        repeat_penalty: Its name for that, empty where it has none.
        has_more_sampling: Whether it knows `top_k` and `min_p`.
        has_template_options: Whether options can be given to the chat template.
        extras: Fields that make it tell more.
        raw_path: Where it continues plain text.
        schema: How an answer is bound to a JSON Schema.
        names_are_ignored: Whether it answers with the model that it has, whatever was asked for.
    """

    repeat_penalty: str = ""
    has_more_sampling: bool = False
    has_template_options: bool = False
    extras: Mapping[str, object] | None = None
    raw_path: str = "/v1/completions"
    schema: Literal["json_schema", "json_object"] = "json_schema"
    names_are_ignored: bool = False


_LLAMA_CPP = Dialect(
    repeat_penalty="repeat_penalty",
    has_more_sampling=True,
    has_template_options=True,
    # The real progress in the prompt, and exact counts with each piece.
    extras={"timings_per_token": True, "return_progress": True},
    names_are_ignored=True,
)
_DIALECTS: Mapping[Kind, Dialect] = {
    Kind.LLAMA_SERVER: _LLAMA_CPP,
    Kind.ROUTER: Dialect(
        repeat_penalty="repeat_penalty",
        has_more_sampling=True,
        has_template_options=True,
        extras=_LLAMA_CPP.extras,
    ),
    Kind.LLAMAFILE: Dialect(
        repeat_penalty="repeat_penalty", has_more_sampling=True, raw_path="/completion", names_are_ignored=True
    ),
    Kind.LLAMA_CPP_SERVER: Dialect(
        repeat_penalty="repeat_penalty", has_more_sampling=True, schema="json_object", names_are_ignored=True
    ),
    Kind.VLLM: Dialect(repeat_penalty="repetition_penalty", has_more_sampling=True, has_template_options=True),
    Kind.LM_STUDIO: Dialect(repeat_penalty="repeat_penalty", has_more_sampling=True),
}


def dialect(kind: Kind) -> Dialect:
    """How KIND is spoken to."""
    return _DIALECTS.get(kind, Dialect())


def to_body(request: Request, kind: Kind, model: str, sampling: Sampling) -> dict[str, object]:
    """The JSON that asks MODEL for an answer to REQUEST."""
    spoken = dialect(kind)
    body: dict[str, object] = {"model": model} if model else {}
    if request.raw:
        body["prompt"] = request.messages[0].content
    else:
        body["messages"] = [message.to_dict() for message in request.messages]
    usage: dict[str, object] = {"include_usage": True}
    if kind is Kind.VLLM:
        usage["continuous_usage_stats"] = True
    body |= {"stream": True, "stream_options": usage, **(spoken.extras or {}), **_sampling(sampling, spoken)}
    if request.think is not None:
        body |= _think(spoken, is_wanted=request.think)
    if request.schema is not None:
        body["response_format"] = _response_format(request.schema, spoken)
    return body


def _sampling(sampling: Sampling, spoken: Dialect) -> dict[str, object]:
    values = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        # Where a server may not know them, they are sent only if the user has set them.
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        spoken.repeat_penalty or "repeat_penalty": sampling.repeat_penalty,
    }
    return {name: value for name, value in values.items() if value is not None}


def _think(spoken: Dialect, *, is_wanted: bool) -> dict[str, object]:
    if spoken.has_template_options:
        return {"chat_template_kwargs": {"enable_thinking": is_wanted}}
    return {"reasoning_effort": "medium" if is_wanted else "none"}


def _response_format(schema: Mapping[str, object], spoken: Dialect) -> dict[str, object]:
    if spoken.schema == "json_object":
        return {"type": "json_object", "schema": dict(schema)}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}
