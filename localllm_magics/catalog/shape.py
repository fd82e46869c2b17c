"""The sizes of a model, from the headers of its files; which layers have what is read from the tensors themselves."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from localllm_magics.catalog.gguf import GGML_TYPES, Header, Tensor
from localllm_magics.catalog.hyperparameters import LARGEST, MOST_LAYERS, Hyperparameters
from localllm_magics.catalog.sliding_window import sliding_windows
from localllm_magics.core.model_shape import LayerShape, ModelShape, TypeSizes

_MATRICES = ("ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up")
_GROUPS: Mapping[str, str] = dict.fromkeys(_MATRICES, "feed_forward") | {
    f"{name}_{kind}exps": "experts" for name in _MATRICES for kind in ("", "ch")
}
"""What llama.cpp's placement moves to the CPU; all other tensors of a layer stay with the attention."""
_INPUTS = {"token_embd", "position_embd", "token_types", "per_layer_token_embd"}
_KEYS = {"attn_k", "attn_kv_a_mqa"}
_STATES = ("ssm_", "time_mix_", "shortconv")
_TYPE_NAMES = {name for name, _, _ in GGML_TYPES.values()}
_MOST_BYTES = 1 << 46
_FLOAT = 4


def read_shape(headers: Sequence[Header]) -> ModelShape | None:
    """The sizes of the model in the files with these HEADERS; None where they lack what is needed, or are absurd."""
    try:
        keys = Hyperparameters.from_metadata(headers[0].metadata)
        return _read(keys, [tensor for header in headers for tensor in header.tensors])
    except ValueError:
        return None


@dataclass(slots=True)
class _Group:
    """Bytes of tensors by type, and the names of the tensors."""

    sizes: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, tensor: Tensor) -> None:
        """Count TENSOR in."""
        if tensor.size_bytes is None:
            raise ValueError(tensor.type)
        self.sizes[GGML_TYPES[tensor.type][0]] += tensor.size_bytes
        self.names.add(name)


def _read(keys: Hyperparameters, tensors: Sequence[Tensor]) -> ModelShape:
    groups: defaultdict[tuple[int, str], _Group] = defaultdict(_Group)
    for tensor in tensors:
        layer, name = _place(tensor.name, keys.layers)
        group = _GROUPS.get(name, "attention") if layer >= 0 else "input" if name in _INPUTS else "output"
        groups[layer, group].add(name, tensor)
    if sum(sum(group.sizes.values()) for group in groups.values()) > _MOST_BYTES:
        raise ValueError("sizes")
    layers = tuple(_layers(keys, groups))
    kinds = tuple(dict.fromkeys(layers))
    index = {kind: number for number, kind in enumerate(kinds)}
    embeddings = next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
    if embeddings is None or len(embeddings.dims) < 2 or max(embeddings.dims) > LARGEST:
        raise ValueError("token_embd")
    is_tied = "output" not in groups[-1, "output"].names
    if is_tied:
        groups[-1, "output"].add("output", embeddings)
    experts = keys.number("expert_count")
    return ModelShape(
        architecture=keys.architecture,
        kinds=kinds,
        order=tuple(index[layer] for layer in layers),
        input=_sizes(groups[-1, "input"]),
        output=_sizes(groups[-1, "output"]),
        is_tied=is_tied,
        width=keys.number("embedding_length"),
        inner_width=(experts and keys.number("expert_feed_forward_length")) or keys.number("feed_forward_length"),
        heads=keys.number("attention.head_count"),
        vocabulary=embeddings.dims[1],
        experts=experts,
        experts_used=keys.number("expert_used_count"),
    )


def _place(name: str, layers: int) -> tuple[int, str]:
    """The layer of a tensor, -1 where it is in none, and what it is there."""
    first, _, rest = name.partition(".")
    if first != "blk":
        return -1, first
    number, _, rest = rest.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 4 and int(number) < layers):
        raise ValueError(name)
    return int(number), rest.partition(".")[0]


def _sizes(group: _Group) -> TypeSizes:
    return tuple(sorted(group.sizes.items()))


def _layers(keys: Hyperparameters, groups: Mapping[tuple[int, str], _Group]) -> Iterator[LayerShape]:
    windows = sliding_windows(keys)
    caches = _caches(keys, windows)
    state = _FLOAT * _state_width(keys)
    # Layers that predict tokens beyond the next one are left out when a model is loaded.
    used = keys.layers - keys.number("nextn_predict_layers")
    for layer in range(keys.layers):
        if layer >= used:
            yield LayerShape()
            continue
        attention, feed_forward, experts = (
            groups.get((layer, name), _Group()) for name in ("attention", "feed_forward", "experts")
        )
        has_state = any(name.startswith(_STATES) for name in attention.names)
        has_cache = bool(_KEYS & attention.names) or ("attn_qkv" in attention.names and not has_state)
        cache = caches[layer] if has_cache else (0, 0, 0)
        yield LayerShape(
            attention=_sizes(attention),
            feed_forward=_sizes(feed_forward),
            experts=_sizes(experts),
            key_width=cache[0],
            value_width=cache[1],
            window=windows[layer] if has_cache else 0,
            state_bytes=state if has_state else 0,
            query_width=cache[2],
        )


def _caches(keys: Hyperparameters, windows: Sequence[int]) -> list[tuple[int, int, int]]:
    """For each layer the elements of key and value in the KV cache, and of the queries."""
    heads = keys.each_layer("attention.head_count")
    kv_heads = keys.each_layer("attention.head_count_kv") if keys.has("attention.head_count_kv") else heads
    usual = keys.number("embedding_length") // max(1, heads[0])
    key, value = keys.number("attention.key_length", usual), keys.number("attention.value_length", usual)
    window_key = keys.number("attention.key_length_swa", key)
    window_value = keys.number("attention.value_length_swa", value)
    indexer = keys.number("attention.indexer.key_length")
    holds_all = keys.number("attention.key_length_mla") > 0
    first_shared = _first_shared(keys)
    caches = []
    for layer, (count, kv_count, window) in enumerate(zip(heads, kv_heads, windows, strict=True)):
        key_width = kv_count * (window_key if window else key) + indexer
        value_width = 0 if holds_all else kv_count * (window_value if window else value)
        queries = count * (window_key if window else key)
        caches.append((key_width, value_width, queries) if layer < first_shared else (0, 0, queries))
    return caches


def _first_shared(keys: Hyperparameters) -> int:
    """The first layer that uses the KV cache of an earlier one; the number of layers where none does."""
    if keys.architecture == "gemma3n":
        return 20
    return keys.layers - keys.number("attention.shared_kv_layers")


def _state_width(keys: Hyperparameters) -> int:
    """Elements of the state of a recurrent layer: of its convolution, and of its recurrence."""
    width, heads = keys.number("embedding_length"), keys.number("attention.head_count")
    if head_size := keys.number("wkv.head_size"):
        return width * (keys.number("token_shift_count", 2) + head_size)
    if kernel := keys.number("shortconv.l_cache"):
        return width * (kernel - 1)
    kernel = max(1, keys.number("ssm.conv_kernel"))
    if head_size := keys.number("kda.head_dim"):
        return heads * head_size * (3 * (kernel - 1 or 3) + head_size)
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    return (kernel - 1) * (inner + 2 * keys.number("ssm.group_count") * state) + inner * state


def shape_to_json(shape: ModelShape) -> dict[str, object]:
    """SHAPE as values that JSON has."""
    return asdict(shape)


def shape_from_json(value: object) -> ModelShape:
    """The shape that `shape_to_json` made VALUE of, also after it was written and read.

    Raises:
        ValueError: It is none.
    """
    fields = _fields(value, ModelShape)
    kinds = tuple(_layer_from_json(kind) for kind in _list(fields.pop("kinds")))
    order = tuple(map(_count, _list(fields.pop("order"))))
    if not 0 < len(order) <= MOST_LAYERS or max(order) >= len(kinds):
        raise ValueError("order")
    architecture, is_tied = fields.pop("architecture"), fields.pop("is_tied")
    if not isinstance(architecture, str) or not isinstance(is_tied, bool):
        raise ValueError("architecture")  # noqa: TRY004 - the contract says ValueError
    sizes = {name: _sizes_from_json(fields.pop(name)) for name in ("input", "output")}
    numbers = {name: _count(number) for name, number in fields.items()}
    return ModelShape(architecture=architecture, is_tied=is_tied, kinds=kinds, order=order, **sizes, **numbers)


def _layer_from_json(value: object) -> LayerShape:
    fields = _fields(value, LayerShape)
    sizes = {name: _sizes_from_json(fields.pop(name)) for name in ("attention", "feed_forward", "experts")}
    return LayerShape(**sizes, **{name: _count(number) for name, number in fields.items()})


def _sizes_from_json(value: object) -> TypeSizes:
    pairs = [_list(pair) for pair in _list(value)]
    if not all(len(pair) == 2 and pair[0] in _TYPE_NAMES for pair in pairs):
        raise ValueError(value)
    return tuple((str(name), _count(size)) for name, size in pairs)


def _fields(value: object, kind: type[ModelShape] | type[LayerShape]) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != kind.__dataclass_fields__.keys():
        raise ValueError(kind.__name__)
    return dict(value)


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(value)  # noqa: TRY004 - the contract says ValueError
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_BYTES:
        raise ValueError(value)
    return value
