"""Prompts, and ways to ask the bundled model."""

from collections.abc import Iterator
from contextlib import contextmanager

from localllm_magics.core.completion import Completion
from localllm_magics.core.events import Done, Event, Failed, Loading, Reading, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine

SHORT = "Tell me a tiny story about a cat."
LONG = " ".join(f"The cat number {number} sleeps." for number in range(90))
ALIKE = LONG + " What do the cats do?"  # shares its first tokens with LONG
GREEDY = Sampling(temperature=0.0, max_tokens=24)
# Far from greedy, so that the smallest difference in the numbers shows in the text.
WILD = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=1, max_tokens=24)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}" + "{% endfor %}" * 3

ErrorContext = tuple[str, Sampling]
Answers = dict[ErrorContext, str]


def ask(prompt: str, sampling: Sampling = GREEDY, *, raw: bool = False) -> Request:
    return Request(messages=to_messages(prompt), sampling=sampling, raw=raw)


def answer(engine: KernelEngine, request: Request) -> Completion:
    *_, last = engine.stream(request, Stop())
    assert isinstance(last, Done | Failed)
    return last.completion


@contextmanager
def fresh_engine(info: ModelInfo, threads: int = 1, ctx: int | None = None) -> Iterator[KernelEngine]:
    engine = KernelEngine(info, LoadOptions(threads=threads, ctx=ctx))
    try:
        yield engine
    finally:
        engine.close()


def stop_at(engine: KernelEngine, prompt: str, kind: type[Event], count: int) -> Completion:
    """Ask PROMPT, and stop at event number COUNT of KIND."""
    stop, seen = Stop(), 0
    for event in engine.stream(ask(prompt), stop):
        seen += isinstance(event, kind)
        if seen == count:
            stop.set()
    assert isinstance(event, Done)
    return event.completion


def stop_in_load(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Loading, 1)


def stop_before_prefill(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Reading, 1)


def stop_in_prefill(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Reading, 2)


def stop_in_decode(engine: KernelEngine) -> Completion:
    return stop_at(engine, ALIKE, TextDelta, 5)


STOPS = (stop_in_load, stop_before_prefill, stop_in_prefill, stop_in_decode)
