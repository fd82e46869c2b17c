"""How fast prompts are read, and in chunks of what size."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace

from localllm_magics.core.memory_plan import CHUNK
from tools.bench.ask import Ask
from tools.bench.result import Section, ratio_row
from tools.bench.subject import Subject
from tools.bench.vocabulary import words
from tools.bench.worker import BARE, COMPLETE, Worker

TOKENS = 512
_CHUNKS = (64, 128, 256, 512)


def prefill(subject: Subject, say: Callable[[str], None]) -> Section:
    """Ours against the bare loop in chunks of several sizes, on one of the random models."""
    rates: dict[int, list[float]] = {chunk: [] for chunk in _CHUNKS}
    ours: list[float] = []
    with ExitStack() as stack:
        say(f"prefill on {subject.name}: loading {len(_CHUNKS) + 1} times")
        complete = stack.enter_context(closing(Worker(COMPLETE, subject.setup)))
        bare = {
            chunk: stack.enter_context(closing(Worker(BARE, replace(subject.setup, batch=chunk)))) for chunk in _CHUNKS
        }
        for number in range(subject.rounds + 1):
            say(f"prefill on {subject.name}: round {number} of {subject.rounds}")
            # Another prompt in each round, so that nothing comes from a cache.
            text = words(TOKENS, seed=number)
            ask = Ask(text=text, prompt=text, seed=1, max_tokens=1)
            rate = TOKENS / complete.ask(ask).prompt_seconds
            found = {chunk: TOKENS / worker.ask(ask).prompt_seconds for chunk, worker in bare.items()}
            if number:
                ours.append(rate)
                for chunk in _CHUNKS:
                    rates[chunk].append(found[chunk])
    return Section(
        title=f"Reading a prompt of {TOKENS} tokens, {subject.name}, {subject.rounds} rounds",
        rows=tuple(
            ratio_row(
                f"`Model.complete` (chunks of {CHUNK}) against the bare loop in chunks of {chunk}",
                "tok/s",
                ours,
                rates[chunk],
            )
            for chunk in _CHUNKS
        ),
    )
