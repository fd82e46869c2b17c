"""The body of a request for each kind of server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.openai.identity import ServerKind
from localllm_magics.engines.think_options import think_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a kind of server differs from OpenAI's own API.

    Args:
        repeat_penalty: Its name for that.
        has_template_options: Whether options can be passed to the chat template.
        extras: Fields that add progress and counts to its answer.
        raw_path: Its endpoint for plain text.
        raw_max_tokens: The name there for the most tokens of an answer.
        schema: How an answer is constrained to a JSON Schema.
        has_raw_schema: Whether plain text can be constrained too, in llama.cpp's own field.
        ignores_model_name: Whether it answers with the model that it has, whatever the request names.
        to_raise_context: What to start it with for a larger context.
    """

    repeat_penalty: str = "repeat_penalty"
    has_template_options: bool = False
    extras: Mapping[str, object] | None = None
    raw_path: str = "/v1/completions"
    raw_max_tokens: str = "max_tokens"
    schema: Literal["json_schema", "json_object"] = "json_schema"
    has_raw_schema: bool = False
    ignores_model_name: bool = False
    to_raise_context: str = "the server's own settings"


_LLAMA_CPP = Dialect(
    has_template_options=True,
    # The progress of the prompt, and exact counts with each piece.
    extras={"timings_per_token": True, "return_progress": True},
    has_raw_schema=True,
    ignores_model_name=True,
    to_raise_context="llama-server -c",
)
_DIALECTS: Mapping[ServerKind, Dialect] = {
    ServerKind.LLAMA_SERVER: _LLAMA_CPP,
    ServerKind.ROUTER: replace(_LLAMA_CPP, ignores_model_name=False),
    ServerKind.LLAMAFILE: Dialect(
        raw_path="/completion", raw_max_tokens="n_predict", ignores_model_name=True, to_raise_context="llamafile -c"
    ),
    ServerKind.LLAMA_CPP_SERVER: Dialect(
        schema="json_object", ignores_model_name=True, to_raise_context="llama_cpp.server --n_ctx"
    ),
    ServerKind.VLLM: Dialect(
        repeat_penalty="repetition_penalty", has_template_options=True, to_raise_context="vllm serve --max-model-len"
    ),
}


def dialect(kind: ServerKind) -> Dialect:
    """The dialect of KIND."""
    return _DIALECTS.get(kind, Dialect())


def to_body(request: Request, kind: ServerKind, model: str, sampling: Sampling) -> dict[str, object]:
    """The JSON body that asks MODEL for an answer to REQUEST."""
    form = dialect(kind)
    body: dict[str, object] = {"model": model} if model else {}
    if request.raw:
        body["prompt"] = request.messages[0].text
    else:
        body["messages"] = [message.to_dict() for message in request.messages]
    usage: dict[str, object] = {"include_usage": True}
    if kind is ServerKind.VLLM:
        usage["continuous_usage_stats"] = True
    body |= {"stream": True, "stream_options": usage, **(form.extras or {})}
    body |= _sampling(sampling, form, is_raw=request.raw)
    if request.think is not None:
        body |= _think(form, is_wanted=request.think)
    if request.schema is not None:
        body |= _schema(request.schema, form, is_raw=request.raw)
    return body


def _sampling(sampling: Sampling, form: Dialect, *, is_raw: bool) -> dict[str, object]:
    """What the user has set: some of the options are not in OpenAI's API."""
    own_names = {"repeat_penalty": form.repeat_penalty} | ({"max_tokens": form.raw_max_tokens} if is_raw else {})
    return {own_names.get(option.name, option.name): value for option, value in sampling.items()}


def _think(form: Dialect, *, is_wanted: bool) -> dict[str, object]:
    if form.has_template_options:
        return {"chat_template_kwargs": think_options(is_wanted=is_wanted)}
    return {"reasoning_effort": "medium" if is_wanted else "none"}


def _schema(schema: Mapping[str, object], form: Dialect, *, is_raw: bool) -> dict[str, object]:
    if is_raw and form.has_raw_schema:
        return {"json_schema": dict(schema)}
    if form.schema == "json_object":
        return {"response_format": {"type": "json_object", "schema": dict(schema)}}
    named = {"name": "answer", "strict": True, "schema": dict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
