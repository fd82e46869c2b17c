"""Which tensors of a layer go elsewhere, because a setting or a pattern of llama.cpp's placement says so."""

import functools
import re
from dataclasses import dataclass

from localllm_magics.core.memory_plan import HOST, PlanSettings

_MATRICES = ("gate", "up", "down")
_NAMES = (*_MATRICES, *(f"{name}_exps" for name in _MATRICES))
_LAYER = re.compile(r"blk\\\.(\d{1,3})\\\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Tensors of a layer that are not where the layer is.

    Args:
        device: Where they are.
        feed_forward: Which part of the dense feed-forward tensors, from 0 to 1.
        experts: Which part of the expert tensors.
    """

    layer: int
    device: str
    feed_forward: float
    experts: float


def moves(settings: PlanSettings, layers: int) -> tuple[Move, ...]:
    """What SETTINGS move in a model of so many LAYERS; gate, up and down count as equally large."""
    if not (settings.overrides or settings.cpu_moe):
        return ()
    return _moves(settings.overrides, min(settings.cpu_moe, layers), layers)


def without_experts(settings: PlanSettings, layers: int) -> frozenset[int]:
    """The layers whose experts are all elsewhere."""
    return frozenset(move.layer for move in moves(settings, layers) if move.experts == 1)


@functools.lru_cache(maxsize=64)
def _moves(overrides: tuple[str, ...], cpu_moe: int, layers: int) -> tuple[Move, ...]:
    places: dict[tuple[int, str], str] = {
        (layer, f"{name}_exps"): HOST for layer in range(cpu_moe) for name in _MATRICES
    }
    for text in overrides:
        pattern, _, device = text.partition("=")
        for layer, name in _matches(pattern, layers):
            places.setdefault((layer, name), device or HOST)
    found: dict[tuple[int, str], set[str]] = {}
    for (layer, name), device in places.items():
        found.setdefault((layer, device), set()).add(name)
    return tuple(
        Move(
            layer=layer,
            device=device,
            feed_forward=len(names & set(_MATRICES)) / 3,
            experts=len(names - set(_MATRICES)) / 3,
        )
        for (layer, device), names in found.items()
    )


@functools.lru_cache(maxsize=4096)
def _matches(text: str, layers: int) -> tuple[tuple[int, str], ...]:
    """The layers and tensors that a pattern names; one that is no regular expression names none."""
    try:
        pattern = re.compile(text)
    except re.error:
        return ()
    only = _LAYER.match(text)
    numbers = range(layers)[int(only[1]) : int(only[1]) + 1] if only else range(layers)
    return tuple(
        (layer, name) for layer in numbers for name in _NAMES if pattern.search(f"blk.{layer}.ffn_{name}.weight")
    )
