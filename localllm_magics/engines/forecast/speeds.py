"""The speed of a device, from the times of tiny models on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localllm_magics.engines.forecast.calibration import DeviceSpeed, TypeSpeed

_MATRICES = 7  # of a layer
_MOST_OVERHEAD = 0.7
"""Of a time, the part that can be beside its weights: more is noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Seconds of a token, with none before it, of a model whose layers are alike."""

    layers: int
    layer_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Seconds of a prompt.

    Args:
        bytes: Weights that all its tokens are computed with.
    """

    layers: int
    width: int
    bytes: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Seconds that attention adds, for each layer, token and earlier token.

    Args:
        width: Elements of the queries.
        cache_bytes: Of the KV cache, for each token and layer.
    """

    width: int
    cache_bytes: int
    decode: float
    prompt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """All that is measured on a device.

    Args:
        decodes: For each type a model of narrow and one of wide layers.
        prompts: For each type a model of few wide layers.
        small_prompt: Of the first type, with narrow layers.
        visit: Of a token of a model that computes next to nothing.
        vocabulary: For each token to choose from.
    """

    decodes: Mapping[str, Sequence[Decode]]
    prompts: Mapping[str, Prompt]
    small_prompt: Prompt
    attention: Attention
    visit: float
    vocabulary: float


def device_speed(timings: Timings) -> DeviceSpeed:
    """The speed that explains TIMINGS."""
    attention = timings.attention
    prompt_attention = attention.prompt / attention.width
    element = _element_seconds(timings.small_prompt, next(iter(timings.prompts.values())), prompt_attention)
    types = {}
    for name, (narrow, wide) in timings.decodes.items():
        rate, overhead = _decode_fit(narrow, wide, timings.visit)
        types[name] = TypeSpeed(
            bytes_per_second=rate,
            matrix_seconds=overhead / _MATRICES,
            prompt_bytes_per_second=_prompt_rate(timings.prompts[name], prompt_attention, element),
        )
    fastest = max(speed.bytes_per_second for speed in types.values())
    return DeviceSpeed(
        types=types,
        visit_seconds=timings.visit,
        vocabulary_seconds=timings.vocabulary,
        # Attention computes beside what it reads.
        attention_seconds=max(0.0, attention.decode - attention.cache_bytes / fastest) / attention.width,
        cache_bytes_per_second=fastest,
        prompt_attention_seconds=prompt_attention,
        prompt_layer_seconds=element,
    )


def _decode_fit(narrow: Decode, wide: Decode, visit: float) -> tuple[float, float]:
    """Bytes a second, and seconds of a layer beside its bytes: two layers of different size tell them apart."""
    narrow_seconds, wide_seconds = (max(each.seconds - visit, 1e-9) / each.layers for each in (narrow, wide))
    slope = (wide_seconds - narrow_seconds) / (wide.layer_bytes - narrow.layer_bytes)
    overhead = min(max(0.0, narrow_seconds - slope * narrow.layer_bytes), _MOST_OVERHEAD * narrow_seconds)
    return wide.layer_bytes / (wide_seconds - min(overhead, _MOST_OVERHEAD * wide_seconds)), overhead


def _element_seconds(small: Prompt, large: Prompt, attention: float) -> float:
    """Seconds of an element of a layer and a token of a prompt, beside those of its weights."""
    (small_bytes, small_elements, small_seconds), (large_bytes, large_elements, large_seconds) = (
        _prompt_work(prompt, attention) for prompt in (small, large)
    )
    seconds = (small_seconds * large_bytes - large_seconds * small_bytes) / (
        small_elements * large_bytes - large_elements * small_bytes
    )
    return min(max(seconds, 0.0), _MOST_OVERHEAD * small_seconds / small_elements)


def _prompt_rate(prompt: Prompt, attention: float, element: float) -> float:
    size, elements, seconds = _prompt_work(prompt, attention)
    return size / (seconds - min(element * elements, _MOST_OVERHEAD * seconds))


def _prompt_work(prompt: Prompt, attention: float) -> tuple[float, float, float]:
    """For a token: bytes of weights, elements of layers, and the seconds that both took."""
    seconds = max(prompt.seconds, 1e-9) / prompt.tokens
    attended = attention * prompt.width * prompt.layers * prompt.tokens / 2
    return prompt.bytes, (prompt.layers - 0.5) * prompt.width, seconds - min(attended, _MOST_OVERHEAD * seconds)
