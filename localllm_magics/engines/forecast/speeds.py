"""The speed of a device, from the times of tiny models on it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localllm_magics.engines.forecast.calibration import DeviceSpeed, TypeSpeed

_MATRICES = 7  # of a layer
_MOST_OVERHEAD = 0.5
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
        attention_bytes: Of the weights that all its tokens are computed with.
        other_bytes: Likewise, of feed-forward layers or experts.
    """

    layers: int
    width: int
    attention_bytes: int
    other_bytes: int
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
        experts: For each type a model of few layers with experts, which get few tokens.
        small_prompt: Of the first type, with narrow layers.
        attentions: With a small and a large KV cache.
        visit: Of a token of a model that computes next to nothing.
        vocabulary: For each token to choose from.
    """

    decodes: Mapping[str, Sequence[Decode]]
    prompts: Mapping[str, Prompt]
    experts: Mapping[str, Prompt]
    small_prompt: Prompt
    attentions: Sequence[Attention]
    visit: float
    vocabulary: float


def device_speed(timings: Timings) -> DeviceSpeed:
    """The speed that explains TIMINGS."""
    small, large = timings.attentions
    prompt_attention = (small.prompt / small.width + large.prompt / large.width) / 2
    element = _element_seconds(timings.small_prompt, next(iter(timings.prompts.values())), prompt_attention)
    overheads = {name: _overhead(narrow, wide, timings.visit) for name, (narrow, wide) in timings.decodes.items()}
    usual = statistics.median(overheads.values())
    types = {}
    for name, (_, wide) in timings.decodes.items():
        # It hardly depends on the type: what is far from that of the others is half noise.
        overhead = (overheads[name] + usual) / 2
        prompt = _prompt_rate(timings.prompts[name], prompt_attention, element)
        types[name] = TypeSpeed(
            bytes_per_second=_rate(wide, overhead, timings.visit),
            matrix_seconds=overhead / _MATRICES,
            prompt_bytes_per_second=prompt,
            expert_bytes_per_second=_expert_rate(timings.experts[name], prompt_attention, element, prompt),
        )
    cached, attended = _attention_fit(small, large)
    return DeviceSpeed(
        types=types,
        visit_seconds=timings.visit,
        vocabulary_seconds=timings.vocabulary,
        attention_seconds=attended,
        cache_byte_seconds=cached,
        prompt_attention_seconds=prompt_attention,
        prompt_layer_seconds=element,
    )


def _overhead(narrow: Decode, wide: Decode, visit: float) -> float:
    """Seconds of a layer beside its bytes: two layers of different size tell them apart."""
    narrow_seconds, wide_seconds = _layer_seconds(narrow, visit), _layer_seconds(wide, visit)
    slope = (wide_seconds - narrow_seconds) / (wide.layer_bytes - narrow.layer_bytes)
    return min(max(0.0, narrow_seconds - slope * narrow.layer_bytes), _MOST_OVERHEAD * narrow_seconds)


def _rate(wide: Decode, overhead: float, visit: float) -> float:
    """Bytes a second."""
    seconds = _layer_seconds(wide, visit)
    return wide.layer_bytes / (seconds - min(overhead, _MOST_OVERHEAD * seconds))


def _layer_seconds(decode: Decode, visit: float) -> float:
    return (decode.seconds - min(visit, decode.seconds / 2)) / decode.layers


def _attention_fit(small: Attention, large: Attention) -> tuple[float, float]:
    """Seconds of a byte of the KV cache, and of an element of the queries."""
    cached = max(0.0, large.decode - small.decode) / (large.cache_bytes - small.cache_bytes)
    cached = min(cached, small.decode / small.cache_bytes)
    return cached, (small.decode - cached * small.cache_bytes) / small.width


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


def _expert_rate(prompt: Prompt, attention: float, element: float, rate: float) -> float:
    """Bytes of experts a second, where other weights are computed with at RATE."""
    _, elements, seconds = _prompt_work(prompt, attention)
    rest = seconds - element * elements - prompt.attention_bytes / rate
    return prompt.other_bytes / max(rest, prompt.other_bytes / rate)


def _prompt_work(prompt: Prompt, attention: float) -> tuple[float, float, float]:
    """For a token: bytes of weights, elements of layers, and the seconds that both took."""
    seconds = prompt.seconds / prompt.tokens
    attended = attention * prompt.width * prompt.layers * prompt.tokens / 2
    size = prompt.attention_bytes + prompt.other_bytes
    return size, (prompt.layers - 0.5) * prompt.width, seconds - min(attended, _MOST_OVERHEAD * seconds)
