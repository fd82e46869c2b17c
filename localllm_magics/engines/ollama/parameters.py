"""Ollama's names for the parameters of a model."""

from collections.abc import Mapping
from dataclasses import replace

from localllm_magics.core.errors import BadOption
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import Sampling

_MOST_STOPS = 100
_OURS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "seed": "seed",
    "num_predict": "max_tokens",
}


def to_sampling(params: Mapping[str, object]) -> Sampling:
    """What PARAMS set, without what is unknown, of another type or out of range."""
    sampling = Sampling(stop=_to_stops(params.get("stop")))
    for theirs, ours in _OURS.items():
        value = params.get(theirs)
        if isinstance(value, int | float):
            sampling = _with(sampling, ours, value)
    return sampling


def to_options(sampling: Sampling) -> dict[str, object]:
    """What a request says for SAMPLING."""
    values = {theirs: getattr(sampling, ours) for theirs, ours in _OURS.items()}
    values["stop"] = list(sampling.stop) or None
    return {name: value for name, value in values.items() if value is not None}


def to_context(params: Mapping[str, object]) -> int | None:
    """The size of the context that PARAMS set, if they do."""
    value = params.get("num_ctx")
    try:
        return LoadOptions(ctx=value).ctx if isinstance(value, int) else None
    except BadOption:
        return None


def _with(sampling: Sampling, name: str, value: float) -> Sampling:
    try:
        return replace(sampling, **{name: value})  # type: ignore[arg-type] # it checks the type itself
    except BadOption:
        return sampling


def _to_stops(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(text for text in texts[:_MOST_STOPS] if isinstance(text, str) and text)
