"""The numbers of a model's architecture, from the metadata of its file.

A file is untrusted: a number that no model has raises ValueError, so that none is used unchecked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from localllm_magics.catalog.gguf import MOST_LAYERS, Value

LARGEST = 1 << 24
"""The most elements, heads or tokens of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """The keys of an architecture.

    Args:
        layers: Repeating layers.
    """

    architecture: str
    metadata: Mapping[str, Value]
    layers: int

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Value]) -> "Hyperparameters":
        """Those in METADATA.

        Raises:
            ValueError: It names no architecture or no layers.
        """
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise ValueError("no architecture")  # noqa: TRY004 - one error for all that a file can have wrong
        layers = _checked(metadata.get(f"{architecture}.block_count"))
        if not 0 < layers <= MOST_LAYERS:
            raise ValueError("block_count")
        return cls(architecture=architecture, metadata=metadata, layers=layers)

    def has(self, name: str) -> bool:
        """Whether the file has a value of this name."""
        return f"{self.architecture}.{name}" in self.metadata

    def number(self, name: str, default: int = 0) -> int:
        """One number; of a list that has one for each layer, the largest."""
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        return max(map(_checked, value), default=default) if isinstance(value, tuple) else _checked(value)

    def each_layer(self, name: str, default: int = 0) -> tuple[int, ...]:
        """A number for each layer, whether the file has one for all or a list."""
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        if not isinstance(value, tuple):
            return (_checked(value),) * self.layers
        if len(value) < self.layers:
            raise ValueError(name)
        return tuple(map(_checked, value[: self.layers]))


def _checked(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(value)
    return int(value)
