"""How wide the attention and the recurrent state of each layer are, as llama.cpp reads it (src/llama-hparams.cpp)."""

from dataclasses import dataclass

from localllm_magics.catalog.hyperparameters import Hyperparameters
from localllm_magics.catalog.sliding_window import sliding_windows

_GEMMA3N_OWN_CACHES = 20
"""Its later layers use the KV cache of an earlier one, which its file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWidths:
    """Elements for each token; see `LayerShape`."""

    key: int
    value: int
    query: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWidths:
    """The state of a recurrent layer.

    Args:
        elements: Of the state of a sequence.
        results: Elements that the layer has at the same time, for each token.
    """

    elements: int
    results: int


NO_ATTENTION = AttentionWidths(key=0, value=0, query=0, window=0)
NO_STATE = StateWidths(elements=0, results=0)


def attention_widths(keys: Hyperparameters) -> list[AttentionWidths]:
    """Those of each layer, if it has attention.

    Raises:
        ValueError: A number in the file cannot be right.
    """
    heads = keys.each_layer("attention.head_count")
    kv_heads = keys.each_layer("attention.head_count_kv") if keys.has("attention.head_count_kv") else heads
    usual = keys.number("embedding_length") // max(1, heads[0])
    key, value = keys.number("attention.key_length", usual), keys.number("attention.value_length", usual)
    window_key = keys.number("attention.key_length_swa", key)
    window_value = keys.number("attention.value_length_swa", value)
    indexer = keys.number("attention.indexer.key_length")
    own_caches = _own_caches(keys)
    key_holds_value = keys.number("attention.key_length_mla") > 0
    widths = []
    for layer, window in enumerate(sliding_windows(keys)):
        key_head, value_head = (window_key, window_value) if window else (key, value)
        kv_count = kv_heads[layer] if layer < own_caches else 0
        widths.append(
            AttentionWidths(
                key=kv_count * key_head + (indexer if kv_count else 0),
                value=0 if key_holds_value else kv_count * value_head,
                query=heads[layer] * key_head,
                window=window if kv_count else 0,
            )
        )
    return widths


def state_widths(keys: Hyperparameters) -> StateWidths:
    """Those of each layer that is recurrent.

    Raises:
        ValueError: A number in the file cannot be right.
    """
    width, kernel = keys.number("embedding_length"), max(1, keys.number("ssm.conv_kernel"))
    if head := keys.number("wkv.head_size"):
        return StateWidths(elements=width * (keys.number("token_shift_count", 2) + head), results=17 * width)
    if shortconv := keys.number("shortconv.l_cache"):
        return StateWidths(elements=width * (shortconv - 1), results=6 * width)
    if head := keys.number("kda.head_dim"):
        inner = keys.number("attention.head_count") * head
        return StateWidths(elements=inner * (3 * (kernel - 1 or 3) + head), results=12 * inner)
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    groups = 2 * keys.number("ssm.group_count") * state
    steps = keys.number("ssm.time_step_rank") if groups else 0
    # Projected, twice as wide with what the convolution takes; that, before and after it; and the result.
    return StateWidths(elements=(kernel - 1) * (inner + groups) + inner * state, results=5 * inner + 3 * groups + steps)


def _own_caches(keys: Hyperparameters) -> int:
    """How many of the first layers have a KV cache of their own."""
    if keys.architecture == "gemma3n":
        return _GEMMA3N_OWN_CACHES
    return keys.layers - keys.number("attention.shared_kv_layers")
