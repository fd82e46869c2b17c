"""The sizes of a model, from the headers of its files; which layer has what is read from the tensors themselves."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from localllm_magics.catalog.gguf import MOST_LAYERS, Header, Tensor
from localllm_magics.catalog.hyperparameters import LARGEST, Hyperparameters
from localllm_magics.catalog.layer_widths import (
    NO_ATTENTION,
    NO_STATE,
    AttentionWidths,
    StateWidths,
    attention_widths,
    state_widths,
)
from localllm_magics.core.ggml_types import GGML_TYPES
from localllm_magics.core.model_shape import LayerShape, ModelShape, TypeSizes

_MATRICES = ("ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up")
_PARTS: Mapping[str, str] = dict.fromkeys(_MATRICES, "feed_forward") | {
    f"{name}_{kind}exps": "experts" for name in _MATRICES for kind in ("", "ch")
}
"""What llama.cpp's placement moves to the CPU; all other tensors of a layer stay with the attention."""
_LAYER_PARTS = ("attention", "feed_forward", "experts")
_INPUTS = frozenset({"token_embd", "position_embd", "token_types", "per_layer_token_embd"})
_CACHES = frozenset({"attn_k", "attn_kv_a_mqa"})
_FUSED_CACHES = _CACHES | {"attn_qkv"}
"""In recurrent layers that tensor is no key and value of an attention."""
_STATES = ("ssm_", "time_mix_", "shortconv")
_TYPE_NAMES = frozenset(name for name, _, _ in GGML_TYPES.values())
_MOST_BYTES = 1 << 46
_FLOAT = 4


def read_shape(headers: Sequence[Header]) -> ModelShape | None:
    """The sizes of the model in the files with these HEADERS; None where they lack what is needed, or are absurd."""
    try:
        keys = Hyperparameters.from_metadata(headers[0].metadata)
        return _read(keys, [tensor for header in headers for tensor in header.tensors])
    except ValueError:
        return None


def shape_to_json(shape: ModelShape) -> dict[str, object]:
    """SHAPE as values that JSON has."""
    return asdict(shape)


def shape_from_json(value: object) -> ModelShape:
    """The shape that `shape_to_json` made VALUE of, also after it was written and read.

    Raises:
        ValueError: It is none.
    """
    fields = _fields(value, ModelShape)
    kinds = tuple(map(_layer_from_json, _list(fields.pop("kinds"))))
    order = tuple(map(_count, _list(fields.pop("order"))))
    if not 0 < len(order) <= MOST_LAYERS or max(order) >= len(kinds):
        raise ValueError("order")
    architecture, is_tied = fields.pop("architecture"), fields.pop("is_tied")
    if not isinstance(architecture, str) or not isinstance(is_tied, bool):
        raise ValueError("architecture")  # noqa: TRY004 - the contract says ValueError
    values = _values(fields, sizes=("input", "output"))
    return ModelShape(architecture=architecture, is_tied=is_tied, kinds=kinds, order=order, **values)


def _layer_from_json(value: object) -> LayerShape:
    return LayerShape(**_values(_fields(value, LayerShape), sizes=_LAYER_PARTS))


def _values(fields: Mapping[str, object], *, sizes: Sequence[str]) -> dict[str, Any]:
    """The values of FIELDS, of which those named SIZES are bytes by type, and all others numbers."""
    return {name: _sizes_from_json(value) if name in sizes else _count(value) for name, value in fields.items()}


def _sizes_from_json(value: object) -> TypeSizes:
    pairs = [(str(name), _count(size)) for name, size in map(_list, _list(value))]
    if not _TYPE_NAMES.issuperset(name for name, _ in pairs):
        raise ValueError(value)
    return tuple(pairs)


def _fields(value: object, kind: type[ModelShape] | type[LayerShape]) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != kind.__dataclass_fields__.keys():
        raise ValueError(kind.__name__)
    return dict(value)


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(value)  # noqa: TRY004 - the contract says ValueError
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value


def _read(keys: Hyperparameters, tensors: Sequence[Tensor]) -> ModelShape:
    groups = _grouped(tensors, keys.layers)
    embeddings = groups[-1, "input"].tensors.get("token_embd")
    if embeddings is None or len(embeddings.dims) != 2 or max(embeddings.dims) > LARGEST:
        raise ValueError("token_embd")
    output = groups[-1, "output"]
    is_tied = "output" not in output.tensors
    if is_tied:
        output.add("output", embeddings)
    layers = list(_layers(keys, groups))
    kinds = tuple(dict.fromkeys(layers))
    experts, used, dense = map(keys.number, ("expert_count", "expert_used_count", "feed_forward_length"))
    inner = keys.number("expert_feed_forward_length", dense) if experts else dense
    has_dense = any(kind.feed_forward for kind in kinds)
    return ModelShape(
        architecture=keys.architecture,
        kinds=kinds,
        order=tuple(map(kinds.index, layers)),
        input=groups[-1, "input"].sizes(),
        output=output.sizes(),
        is_tied=is_tied,
        width=keys.number("embedding_length"),
        inner_width=inner,
        activation_width=max(used * inner, dense * has_dense),
        heads=keys.number("attention.head_count"),
        vocabulary=embeddings.dims[1],
        experts=experts,
        experts_used=used,
    )


class _Group:
    """Tensors that are placed together.

    Raises:
        ValueError: A tensor has an unknown type, or an absurd size.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._sizes: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.size_bytes
        if size is None or size > _MOST_BYTES:
            raise ValueError(name)
        self.tensors[name] = tensor
        self._sizes[GGML_TYPES[tensor.type][0]] += size

    def sizes(self) -> TypeSizes:
        return tuple(sorted(self._sizes.items()))


_EMPTY = _Group()


def _grouped(tensors: Sequence[Tensor], layers: int) -> defaultdict[tuple[int, str], _Group]:
    """TENSORS by their layer, -1 where they are in none, and the part of it."""
    groups: defaultdict[tuple[int, str], _Group] = defaultdict(_Group)
    for tensor in tensors:
        name, _, rest = tensor.name.partition(".")
        if name != "blk":
            groups[-1, "input" if name in _INPUTS else "output"].add(name, tensor)
            continue
        number, _, rest = rest.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) <= 3 and int(number) < layers):
            raise ValueError(tensor.name)
        name = rest.partition(".")[0]
        groups[int(number), _PARTS.get(name, "attention")].add(name, tensor)
    return groups


def _layers(keys: Hyperparameters, groups: Mapping[tuple[int, str], _Group]) -> Iterator[LayerShape]:
    state = state_widths(keys)
    # Layers that predict tokens beyond the next one are left out when a model is loaded.
    used = keys.layers - keys.number("nextn_predict_layers")
    for layer, attention in enumerate(attention_widths(keys)):
        parts = [groups.get((layer, part), _EMPTY) for part in _LAYER_PARTS]
        yield _layer(parts, attention, state) if layer < used else LayerShape()


def _layer(parts: Sequence[_Group], attention: AttentionWidths, state: StateWidths) -> LayerShape:
    names = parts[0].tensors.keys()
    is_recurrent = any(name.startswith(_STATES) for name in names)
    has_attention = not names.isdisjoint(_CACHES if is_recurrent else _FUSED_CACHES)
    widths = attention if has_attention else NO_ATTENTION
    states = state if is_recurrent else NO_STATE
    return LayerShape(
        attention=parts[0].sizes(),
        feed_forward=parts[1].sizes(),
        experts=parts[2].sizes(),
        key_width=widths.key,
        value_width=widths.value,
        window=widths.window,
        query_width=widths.query,
        state_bytes=_FLOAT * states.elements,
        state_width=states.results,
    )
