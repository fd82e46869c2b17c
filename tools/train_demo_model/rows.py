"""From conversations to rows of tokens.

Short conversations share rows of 256 tokens; a long one gets a row of its own
length class. A row holds whole conversations only, so each answer is learnt
with all that it depends on in sight.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.train_demo_model.conversation import Message, Task, conversation, plain_text
from tools.train_demo_model.words import seeded

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BATCH = 4096
LENGTHS = (256, 1024)
RAW = 0.02


class Rows(NamedTuple):
    """Tokens, and which of them the model must learn to write."""

    tokens: np.ndarray
    learn: np.ndarray


def as_smollm(model: models.BPE) -> Tokenizer:
    """A byte-level tokenizer that cuts text as llama.cpp's pre-tokenizer `smollm` does."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tokenizer_of(path: Path) -> Tokenizer:
    """The tokenizer of an exported model."""
    fields = gguf.GGUFReader(path).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = as_smollm(models.BPE({token: at for at, token in enumerate(tokens)}, pairs))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def make_tokenizer(vocab: int, seed: int, count: int) -> Tokenizer:
    """A byte-level BPE of the words of COUNT conversations."""
    rng = seeded(seed)
    tokenizer = as_smollm(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    texts = ("\n".join(message["content"] for message in conversation(rng)) for _ in range(count))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def chat_text(messages: Sequence[Message]) -> str:
    """The messages as the chat template writes them."""
    return "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)


def encode(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Tokens of a conversation, and which of them the model must learn."""
    tokens: list[int] = []
    learn: list[bool] = []
    for message in messages:
        answer = message["role"] == "assistant"
        for text, wanted in (
            (f"<|im_start|>{message['role']}\n", False),
            (f"{message['content']}<|im_end|>", answer),
            ("\n", False),
        ):
            ids = tokenizer.encode(text).ids
            tokens += ids
            learn += [wanted] * len(ids)
    return tokens, learn


def example(tokenizer: Tokenizer, rng: random.Random, tasks: Mapping[Task, float]) -> tuple[list[int], list[bool]]:
    """A conversation or, seldom, plain text without a chat template, for `--raw`."""
    if rng.random() >= RAW:
        return encode(tokenizer, conversation(rng, tasks))
    tokens = tokenizer.encode(f"{plain_text(rng)}<|im_end|>").ids
    return tokens, [False] + [True] * (len(tokens) - 1)


class Shelf:
    """Rows of one length that are being filled."""

    def __init__(self, length: int) -> None:
        self.size = length + 1
        self.wanted = BATCH // length
        self.rows: list[tuple[list[int], list[bool]]] = []

    def put(self, tokens: list[int], learn: list[bool], end: int) -> None:
        """Add a conversation to the first row with room for it."""
        tokens, learn = [*tokens, end], [*learn, False]
        for row, mask in self.rows:
            if len(row) + len(tokens) <= self.size:
                row.extend(tokens)
                mask.extend(learn)
                return
        self.rows.append((tokens, learn))

    def take(self, end: int) -> Rows | None:
        """A batch, once there are more rows than it needs."""
        if len(self.rows) <= self.wanted + self.wanted // 4:
            return None
        self.rows.sort(key=lambda row: len(row[0]))
        full = [self.rows.pop() for _ in range(self.wanted)]
        tokens = [row + [end] * (self.size - len(row)) for row, _ in full]
        learn = [mask + [False] * (self.size - len(mask)) for _, mask in full]
        return Rows(np.array(tokens, dtype=np.int64), np.array(learn))


def batches(tokenizer: Tokenizer, seed: int, tasks: Mapping[Task, float]) -> Iterator[Rows]:
    """Fresh training rows without end."""
    rng = seeded(seed)
    end: int = tokenizer.get_vocab()[SPECIAL[0]]
    shelves = [Shelf(length) for length in LENGTHS]
    while True:
        tokens, learn = example(tokenizer, rng, tasks)
        fitting = [shelf for shelf in shelves if len(tokens) < shelf.size]
        if not fitting:
            continue
        fitting[0].put(tokens, learn, end)
        full = fitting[0].take(end)
        if full:
            yield full
