"""Ollama's names for the parameters of a model."""

from collections.abc import Mapping
from contextlib import suppress

from localllm_magics.core.errors import BadOption
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import SAMPLING_OPTIONS, Sampling


def to_sampling(params: Mapping[str, object]) -> Sampling:
    """The sampling in PARAMS, without what is unknown, of another type or out of range."""
    values: dict[str, object] = {"stop": _to_stops(params.get("stop"))}
    for option in SAMPLING_OPTIONS:
        if option.type is not str:
            with suppress(BadOption):
                values[option.name] = option.to_number(params.get(option.ollama or option.name))
    return Sampling.from_options(values)


def to_options(sampling: Sampling) -> dict[str, object]:
    """The options of a request with SAMPLING."""
    return {(option.ollama or option.name): value for option, value in sampling.items()}


def to_context(params: Mapping[str, object]) -> int | None:
    """The size of the context window that PARAMS set, if they do."""
    value = params.get("num_ctx")
    with suppress(BadOption):
        return LoadOptions(ctx=value).ctx if isinstance(value, int) else None
    return None


def _to_stops(value: object) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(text for text in texts[:100] if isinstance(text, str) and text)
