"""What a request looks like to each kind of server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.openai.identity import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a kind of server differs from OpenAI's own API.

    Args:
        repeat_penalty: Its name for that, or what most call it.
        has_template_options: Whether options can be given to the chat template.
        extras: Fields that make it tell more.
        raw_path: Where it continues plain text.
        raw_max_tokens: Its name there for the most tokens of an answer.
        schema: How an answer is bound to a JSON Schema.
        has_raw_schema: Whether plain text can be bound to one too, in llama.cpp's own field.
        names_are_ignored: Whether it answers with the model that it has, whatever was asked for.
        to_raise_context: What it is started with for a larger context.
    """

    repeat_penalty: str = "repeat_penalty"
    has_template_options: bool = False
    extras: Mapping[str, object] | None = None
    raw_path: str = "/v1/completions"
    raw_max_tokens: str = "max_tokens"
    schema: Literal["json_schema", "json_object"] = "json_schema"
    has_raw_schema: bool = False
    names_are_ignored: bool = False
    to_raise_context: str = "the server's own settings"


_LLAMA_CPP = Dialect(
    has_template_options=True,
    # The real progress in the prompt, and exact counts with each piece.
    extras={"timings_per_token": True, "return_progress": True},
    has_raw_schema=True,
    names_are_ignored=True,
    to_raise_context="llama-server -c",
)
_DIALECTS: Mapping[Kind, Dialect] = {
    Kind.LLAMA_SERVER: _LLAMA_CPP,
    Kind.ROUTER: replace(_LLAMA_CPP, names_are_ignored=False),
    Kind.LLAMAFILE: Dialect(
        raw_path="/completion",
        raw_max_tokens="n_predict",
        names_are_ignored=True,
        to_raise_context="llamafile -c",
    ),
    Kind.LLAMA_CPP_SERVER: Dialect(
        schema="json_object", names_are_ignored=True, to_raise_context="llama_cpp.server --n_ctx"
    ),
    Kind.VLLM: Dialect(
        repeat_penalty="repetition_penalty", has_template_options=True, to_raise_context="vllm serve --max-model-len"
    ),
}


def dialect(kind: Kind) -> Dialect:
    """How KIND is spoken to."""
    return _DIALECTS.get(kind, Dialect())


def to_body(request: Request, kind: Kind, model: str, sampling: Sampling) -> dict[str, object]:
    """The JSON that asks MODEL for an answer to REQUEST."""
    spoken = dialect(kind)
    body: dict[str, object] = {"model": model} if model else {}
    if request.raw:
        body["prompt"] = request.messages[0].text
    else:
        body["messages"] = [message.to_dict() for message in request.messages]
    usage: dict[str, object] = {"include_usage": True}
    if kind is Kind.VLLM:
        usage["continuous_usage_stats"] = True
    body |= {"stream": True, "stream_options": usage, **(spoken.extras or {})}
    body |= _sampling(sampling, spoken, limit=spoken.raw_max_tokens if request.raw else "max_tokens")
    if request.think is not None:
        body |= _think(spoken, is_wanted=request.think)
    if request.schema is not None:
        body |= _schema(request.schema, spoken, is_raw=request.raw)
    return body


def _sampling(sampling: Sampling, spoken: Dialect, limit: str) -> dict[str, object]:
    values = {
        limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        # Not of OpenAI's API; like all others, they are sent only if the user has set them.
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        spoken.repeat_penalty: sampling.repeat_penalty,
    }
    return {name: value for name, value in values.items() if value is not None}


def _think(spoken: Dialect, *, is_wanted: bool) -> dict[str, object]:
    if spoken.has_template_options:
        return {"chat_template_kwargs": {"enable_thinking": is_wanted}}
    return {"reasoning_effort": "medium" if is_wanted else "none"}


def _schema(schema: Mapping[str, object], spoken: Dialect, *, is_raw: bool) -> dict[str, object]:
    if is_raw and spoken.has_raw_schema:
        return {"json_schema": dict(schema)}
    if spoken.schema == "json_object":
        return {"response_format": {"type": "json_object", "schema": dict(schema)}}
    named = {"name": "answer", "strict": True, "schema": dict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
