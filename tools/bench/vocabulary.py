"""A made-up vocabulary of the size of Qwen2's: byte-level BPE that llama.cpp loads and can tokenize with."""

import itertools
import random
import string
from dataclasses import dataclass

SIZE = 151_936
BOS, END_OF_TURN = "<|endoftext|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = (BOS, "<|im_start|>", END_OF_TURN)
_FIRST_SPECIAL = 151_643  # as in Qwen2; what follows the special tokens is padding
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5  # enum llama_token_type, llama.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """What a GGUF file says about its tokenizer; tokens from `first_special` on are never text."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    first_special: int

    def id(self, token: str) -> int:
        """The number of a special token."""
        return self.tokens.index(token, self.first_special)


def vocabulary() -> Tokenizer:
    """Bytes, pairs of letters, and fours of letters, the last two with and without a space before them."""
    tokens, merges = _byte_tokens(), list[str]()
    for left, right in _pairs_to_merge(_FIRST_SPECIAL - len(tokens)):
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    padding = [f"[PAD{number}]" for number in range(_FIRST_SPECIAL + len(_SPECIAL), SIZE)]
    return Tokenizer(
        tokens=[*tokens, *_SPECIAL, *padding],
        types=[_NORMAL] * len(tokens) + [_CONTROL] * len(_SPECIAL) + [_UNUSED] * len(padding),
        merges=merges,
        first_special=_FIRST_SPECIAL,
    )


def words(count: int, seed: int) -> str:
    """COUNT words, each of which is one token of `vocabulary`."""
    letters = random.Random(seed)  # noqa: S311 - no secret
    return "".join(" " + "".join(letters.choices(string.ascii_lowercase, k=2)) for _ in range(count))


def _byte_tokens() -> list[str]:
    """The 256 characters that stand for bytes, in GPT-2's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + number) for number in range(others)]


def _pairs_to_merge(count: int) -> list[tuple[str, str]]:
    space = "Ġ"
    pairs = [first + second for first, second in itertools.product(string.ascii_lowercase, repeat=2)]
    merged = [(pair[0], pair[1]) for pair in pairs] + [(space, pair) for pair in pairs]
    fours = random.Random(0).sample(list(itertools.product(pairs, pairs)), count - len(merged))  # noqa: S311 - no secret
    half = len(fours) // 2
    return [*merged, *fours[:half], *((space + first, second) for first, second in fours[half:])]
