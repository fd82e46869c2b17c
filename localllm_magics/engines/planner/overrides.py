"""Which tensors of a layer stay on the CPU, because a setting or a pattern of llama.cpp's placement says so."""

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

Shares = tuple[float, float]
"""Of a layer's dense feed-forward tensors and of its expert tensors, the parts that stay on the CPU, from 0 to 1."""
_MATRICES = ("gate", "up", "down")
_LAYER = re.compile(r"^\^?blk\\\.(\d+)\\\.")


@functools.lru_cache(maxsize=64)
def cpu_shares(overrides: tuple[str, ...], cpu_moe: int, layers: int) -> Mapping[int, Shares]:
    """For each layer of which something stays on the CPU, how much; gate, up and down count as equally large.

    Args:
        overrides: Patterns of names of tensors; one that is no regular expression matches nothing.
        cpu_moe: The first layers whose experts stay.
        layers: Repeating layers.
    """
    staying: dict[int, set[str]] = {layer: {f"{name}_exps" for name in _MATRICES} for layer in range(cpu_moe)}
    for text in overrides:
        try:
            pattern = re.compile(text)
        except re.error:
            continue
        only = _LAYER.match(text)
        for layer in [int(only[1])] if only else range(layers):
            names = {name for name in _NAMES if pattern.search(f"blk.{layer}.ffn_{name}.weight")}
            staying.setdefault(layer, set()).update(names)
    return MappingProxyType({layer: _shares(names) for layer, names in staying.items() if names})


_NAMES = (*_MATRICES, *(f"{name}_exps" for name in _MATRICES))


def _shares(names: set[str]) -> Shares:
    return len(names & set(_MATRICES)) / 3, len(names - set(_MATRICES)) / 3
