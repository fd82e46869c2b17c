"""Greedy answers of a GGUF file, with the margin of each token over the next best one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import Llama

from tools.train_demo_model.conversation import Message
from tools.train_demo_model.rows import chat_text

# Settings that must not change a greedy answer.
VARIANTS: dict[str, dict[str, Any]] = {
    "1 thread": {},
    "2 threads": {"n_threads": 2, "n_threads_batch": 2},
    "batch 32": {"n_batch": 32, "n_ubatch": 32},
    "batch 1": {"n_batch": 1, "n_ubatch": 1},
    "flash attention": {"flash_attn": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A greedy answer; `margin` is the lowest lead, in logits, of a chosen token."""

    text: str
    tokens: int
    margin: float
    ended: bool


def load(path: Path, **options: Any) -> Llama:  # noqa: ANN401 - what Llama takes
    """A model with the given settings on top of one thread."""
    return Llama(str(path), **{"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1, "verbose": False} | options)


def prompt_tokens(llm: Llama, messages: Sequence[Message]) -> list[int]:
    """The tokens of a conversation, ready for the answer."""
    text = f"{chat_text(messages)}<|im_start|>assistant\n"
    tokens: list[int] = llm.tokenize(text.encode(), add_bos=False, special=True)
    return tokens


def answer(llm: Llama, messages: Sequence[Message], max_tokens: int) -> Answer:
    """What the model says when each token is the likeliest one."""
    llm.n_tokens = 0
    llm.eval(prompt_tokens(llm, messages))
    out: list[int] = []
    margin, ended = float("inf"), False
    while len(out) < max_tokens and llm.n_tokens < llm.n_ctx():
        logits = np.ctypeslib.as_array(llm._ctx.get_logits_ith(-1), (llm.n_vocab(),))  # noqa: SLF001 - no public way
        second, first = np.partition(logits, -2)[-2:]
        margin = min(margin, float(first - second))
        chosen = int(logits.argmax())
        ended = chosen == llm.token_eos()
        if ended:
            break
        out.append(chosen)
        llm.eval([chosen])
    return Answer(text=llm.detokenize(out).decode(errors="replace"), tokens=len(out), margin=margin, ended=ended)


def converse(
    llm: Llama, asked: Sequence[str], max_tokens: int, system: str | None = None
) -> tuple[list[Message], Answer]:
    """The messages before the last answer, and that answer."""
    messages = [Message(role="system", content=system)] if system else []
    said = None
    for request in asked:
        if said is not None:
            messages.append(Message(role="assistant", content=said.text))
        messages.append(Message(role="user", content=request))
        said = answer(llm, messages, max_tokens)
    assert said is not None
    return messages, said


def sample(llm: Llama, messages: Sequence[Message], max_tokens: int, seed: int) -> str:
    """An answer with llama.cpp's usual sampling."""
    usual: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40, "repeat_penalty": 1.0}
    reply: Any = llm.create_completion(prompt_tokens(llm, messages), max_tokens=max_tokens, seed=seed, **usual)
    text: str = reply["choices"][0]["text"]
    return text
