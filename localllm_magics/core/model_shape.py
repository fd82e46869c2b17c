"""The sizes of a model, from its header, that decide how much memory it needs and how fast it is."""

from dataclasses import dataclass
from typing import TypeAlias

TypeSizes: TypeAlias = tuple[tuple[str, int], ...]
"""Bytes of tensors by the name of their ggml type, such as `(("Q4_0", 12_386_304), ("F32", 7_168))`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """Repeating layers that are alike.

    Args:
        attention: Bytes of the tensors that stay with the attention: projections, norms, routers, shared experts.
        feed_forward: Bytes of the dense feed-forward tensors.
        experts: Bytes of the expert tensors, all experts together.
        key_width: Elements of the key that the KV cache holds for each token; 0 where there is no attention.
        value_width: Elements of the value; 0 where the key holds all, as with MLA.
        window: Tokens of the sliding window; 0 is the whole context.
        state_bytes: Bytes of the recurrent state of a sequence.
        query_width: Elements of the queries of a token, all heads together.
        state_width: Elements of the results that a recurrent layer has at the same time, for each token.
    """

    attention: TypeSizes = ()
    feed_forward: TypeSizes = ()
    experts: TypeSizes = ()
    key_width: int = 0
    value_width: int = 0
    window: int = 0
    state_bytes: int = 0
    query_width: int = 0
    state_width: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a model.

    Args:
        kinds: The different layers.
        order: For each layer, first to last, the index of its kind.
        input: Bytes of the token embeddings, of which a token reads one row.
        output: Bytes of the output projection and the last norms.
        is_tied: The output projection is the token embedding: its bytes are in `input`, and a copy of them in `output`
            is on the device that computes the output.
        width: Elements of an embedding.
        inner_width: Elements of a dense feed-forward layer, or of one expert.
        activation_width: Elements inside the widest feed-forward part of a layer for each token, experts together.
        heads: Attention heads.
        vocabulary: Tokens.
        experts: In a layer.
        experts_used: For each token.
    """

    architecture: str
    kinds: tuple[LayerShape, ...]
    order: tuple[int, ...]
    input: TypeSizes = ()
    output: TypeSizes = ()
    is_tied: bool = False
    width: int
    inner_width: int = 0
    activation_width: int = 0
    heads: int = 0
    vocabulary: int = 0
    experts: int = 0
    experts_used: int = 0

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The layers, first to last."""
        return tuple(self.kinds[index] for index in self.order)
