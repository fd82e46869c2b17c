"""Measure an exported demo model with llama-cpp-python.

python -m tools.train_demo_model.check tokens FILE WORK_DIR    same tokens as in training?
python -m tools.train_demo_model.check answers FILE [PROMPTS]  held-out prompts: right answers by class
python -m tools.train_demo_model.check sample FILE [PROMPTS]   the same at temperature 0.8
python -m tools.train_demo_model.check golden FILE F32_FILE [TARGET]
    margins and stability of the golden prompts; writes those that hold to TARGET
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypedDict

from llama_cpp import Llama
from tokenizers import Tokenizer

from tools.train_demo_model.conversation import Message, conversation
from tools.train_demo_model.greedy import VARIANTS, Answer, converse, load, sample
from tools.train_demo_model.rows import chat_text
from tools.train_demo_model.words import read_toml, seeded

LONGEST = 960
SHORT = 400
LEAST_MARGIN = 0.5
NASTY = (
    "Grüße, 12345 naïve 東京  two  spaces\n\n\ttabs it's WE'LL\r\n",
    "a\n\n\nb   c",
    " lead",
    "émoji 🙂!!",
    "x=1;y==2  # ok",
    "DataFrame, 3 rows × 2 columns, shape (3, 2):",
)


class Golden(NamedTuple):
    """A golden prompt and what its answer must match."""

    asked: list[str]
    wanted: str
    system: str | None
    max_tokens: int


class Entry(TypedDict):
    """What the golden file says about an answer."""

    messages: list[Message]
    max_tokens: int
    answer: str
    completion_tokens: int
    lowest_margin: float


def check_tokens(path: str, work: str) -> None:
    """Compare llama.cpp's tokens of conversations with the trainer's."""
    llm, tokenizer = load(Path(path)), Tokenizer.from_file(str(Path(work) / "tokenizer.json"))
    rng = seeded(99)
    texts = [*(chat_text(conversation(rng)) for _ in range(1000)), *NASTY]
    different = [
        text for text in texts if llm.tokenize(text.encode(), add_bos=False, special=True) != tokenizer.encode(text).ids
    ]
    print(f"{len(texts) - len(different)} of {len(texts)} texts have the same tokens")
    for text in different:
        print("different:", repr(text[:200]))


def check_answers(path: str, prompts: str = "held_out.toml") -> None:
    """Greedy answers to the held-out prompts."""
    llm = load(Path(path))
    judge(prompts, lambda turns: converse(llm, turns, LONGEST)[1].text)


def check_samples(path: str, prompts: str = "held_out.toml") -> None:
    """Sampled answers to the held-out prompts; earlier turns are greedy."""
    llm = load(Path(path))
    judge(prompts, lambda turns: sample(llm, converse(llm, turns, SHORT)[0], LONGEST, seed=1))


def judge(prompts: str, reply: Callable[[list[str]], str]) -> None:
    """Print each answer, and per class how many match."""
    right: dict[str, list[bool]] = {}
    for kind, entries in read_toml(prompts).items():
        for *turns, wanted in entries:
            text = reply(turns)
            good = re.search(wanted, text) is not None
            right.setdefault(kind, []).append(good)
            print("ok " if good else "BAD", f"[{kind}]", " / ".join(turns).replace("\n", "\\n"))
            print("      ->", text.replace("\n", "\\n"))
    for kind, goods in right.items():
        print(f"{kind:8} {sum(goods):3} of {len(goods):3}")
    total = [good for goods in right.values() for good in goods]
    print(f"all      {sum(total):3} of {len(total):3} ({100 * sum(total) / len(total):.0f} %)")


def golden_prompts() -> Iterator[Golden]:
    """The prompts of data/golden.toml."""
    for group in read_toml("golden.toml")["group"]:
        for *asked, wanted in group["prompts"]:
            yield Golden(asked, wanted, group.get("system"), group["max_tokens"])


def check_golden(path: str, f32: str, target: str | None = None) -> None:
    """Margins, and the same text in all settings."""
    models = {name: load(Path(path), **options) for name, options in VARIANTS.items()} | {"F32": load(Path(f32))}
    kept = [entry for prompt in golden_prompts() if (entry := golden_entry(models, prompt))]
    print(f"{len(kept)} kept; lowest margin {min((entry['lowest_margin'] for entry in kept), default=0)}")
    if target:
        Path(target).write_text(json.dumps({"answers": kept}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def golden_entry(models: dict[str, Llama], prompt: Golden) -> Entry | None:
    """An entry of the golden file, if the answer is right, complete and the same everywhere."""
    found = {name: converse(llm, prompt.asked, prompt.max_tokens, prompt.system) for name, llm in models.items()}
    messages, first = next(iter(found.values()))
    odd = [name for name, (_, answer) in found.items() if answer.text != first.text]
    lowest = min(answer.margin for _, answer in found.values())
    right = first.ended and re.search(prompt.wanted, first.text) is not None
    keep = right and not odd and lowest >= LEAST_MARGIN
    print(
        "keep" if keep else "DROP",
        f"{lowest:6.2f}",
        odd or "",
        repr(prompt.asked[-1][:60]),
        "->",
        repr(first.text[:80]),
    )
    return entry_of(messages, first, prompt.max_tokens, lowest) if keep else None


def entry_of(messages: list[Message], answer: Answer, max_tokens: int, lowest: float) -> Entry:
    """An answer and how it was asked for."""
    return Entry(
        messages=messages,
        max_tokens=max_tokens,
        answer=answer.text,
        completion_tokens=answer.tokens,
        lowest_margin=round(lowest, 2),
    )


def main() -> None:
    """Read the command line."""
    commands: dict[str, Callable[..., None]] = {
        "tokens": check_tokens,
        "answers": check_answers,
        "sample": check_samples,
        "golden": check_golden,
    }
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
