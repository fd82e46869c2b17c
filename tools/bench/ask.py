"""What contenders are asked, and what they answer: plain values that go from process to process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

TEMPERATURE, TOP_K, TOP_P, MIN_P = 0.8, 40, 0.95, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How every contender loads the model.

    Args:
        reference: What a user types to name it.
        context: Tokens of context.
        threads: CPU threads.
        batch: Prompt tokens read at a time, where the contender lets us choose.
    """

    path: Path
    reference: str
    context: int
    threads: int
    batch: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One generation.

    Args:
        text: What the user writes.
        prompt: The same as the model reads it, in its chat template.
        seed: Of the sampler; all contenders sample alike.
        max_tokens: The answer's length, unless the model ends it.
    """

    text: str
    prompt: str
    seed: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one generation took.

    Args:
        tokens: Of the answer.
        steps: Tokens that were decoded to get the next one, in `decode_seconds`.
        wall_seconds: From the call to its end.
        server_seconds: What decoding took by the clock of a server, where one answered.
    """

    text: str
    tokens: int
    prompt_tokens: int
    prompt_seconds: float
    steps: int
    decode_seconds: float
    wall_seconds: float
    server_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Megabytes of a process.

    Args:
        resident: In memory now.
        reserved: Address space, which may become resident later.
    """

    resident: float
    reserved: float


class Contender(Protocol):
    """Something that answers."""

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK."""

    def memory(self) -> Memory:
        """What its process holds now."""

    def close(self) -> None:
        """Leave no process behind."""


def memory_of(process: int) -> Memory:
    """The memory of a running process, by its number."""
    info = psutil.Process(process).memory_info()
    return Memory(resident=info.rss / 1e6, reserved=info.vms / 1e6)


def steps(tokens: int, *, cut_off: bool) -> int:
    """Tokens that were decoded after the prompt: the last one is not, unless the model's end came after it."""
    return tokens - 1 if cut_off else tokens
