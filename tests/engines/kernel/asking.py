"""Prompts, and ways to ask the bundled model."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from localllm_magics.core.completion import Completion, FinishReason
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Done, Failed, Loading, ProgressEvent, Reading, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.stream import Stream

SHORT = "Tell me a tiny story about a cat."
LONG = " ".join(f"The cat number {number} sleeps." for number in range(90))
ALIKE = LONG + " What do the cats do?"  # shares its first tokens with LONG
GREEDY = Sampling(temperature=0.0, max_tokens=24)
# Far from greedy, so that the smallest difference in the numbers shows in the text.
WILD = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=1, max_tokens=24)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}" + "{% endfor %}" * 3

Question = tuple[str, Sampling]
Answers = dict[Question, str]
Events = Generator[ProgressEvent, None, FinishReason]


def ask(prompt: str, sampling: Sampling = GREEDY, *, raw: bool = False) -> Request:
    return Request(messages=to_messages(prompt), sampling=sampling, raw=raw)


def generation_of(engine: KernelEngine, request: Request) -> Generation:
    return Generation(request, engine.status().model)


def wait_for_limited_work() -> None:
    """Wait until nothing runs any more that was given up for its limits."""
    for thread in threading.enumerate():
        if thread.name == "localllm-limited":
            thread.join(60)
            assert not thread.is_alive()


def answer(engine: KernelEngine, request: Request) -> Completion:
    *_, last = Stream(engine, generation_of(engine, request))
    assert isinstance(last, Done | Failed)
    return last.completion


def run(events: Events, generation: Generation, on_event: Callable[[ProgressEvent], object] = id) -> Completion:
    """Feed EVENTS to GENERATION, each in this thread and then to ON_EVENT, and end it as a stream does."""
    try:
        while True:
            event = next(events)
            generation.feed(event)
            on_event(event)
    except StopIteration as end:
        return generation.to_completion(end.value)
    except Stopped:
        return generation.to_completion("stopped")
    except LocalLLMError as error:
        return generation.to_completion("error", error)


@contextmanager
def fresh_engine(info: ModelInfo, threads: int = 1, ctx: int | None = None) -> Iterator[KernelEngine]:
    engine = KernelEngine(info, LoadOptions(threads=threads, ctx=ctx))
    try:
        yield engine
    finally:
        engine.close()


def stop_at(engine: KernelEngine, prompt: str, kind: type[ProgressEvent], count: int) -> Completion:
    """Ask PROMPT, and stop at event number COUNT of KIND."""
    stop, seen = Stop(), list[ProgressEvent]()

    def watch(event: ProgressEvent) -> None:
        seen.extend([event] * isinstance(event, kind))
        if len(seen) == count:
            stop.set()

    generation = generation_of(engine, ask(prompt))
    return run(engine.stream(generation, stop), generation, watch)


def stop_in_load(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Loading, 1)


def stop_before_prefill(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Reading, 1)


def stop_in_prefill(engine: KernelEngine) -> Completion:
    return stop_at(engine, LONG, Reading, 2)


def stop_in_decode(engine: KernelEngine) -> Completion:
    return stop_at(engine, ALIKE, TextDelta, 5)


STOPS = (stop_in_load, stop_before_prefill, stop_in_prefill, stop_in_decode)
