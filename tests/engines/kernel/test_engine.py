import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import LoadFailed, UsageError
from localllm_magics.core.events import Done, Loading, Pending, ProgressEvent, Reading, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.stream import Stream
from tests.engines.kernel.asking import (
    ALIKE,
    ENDLESS,
    GREEDY,
    LONG,
    SHORT,
    STOPS,
    WILD,
    Answers,
    Question,
    answer,
    ask,
    fresh_engine,
    generation_of,
    run,
    stop_in_decode,
    stop_in_load,
)
from tests.engines.kernel.random_model import write_random_model


def test_events_go_from_loading_to_done(engine: KernelEngine) -> None:
    events = list(Stream(engine, generation_of(engine, ask(SHORT))))

    kinds = list(dict.fromkeys(type(event) for event in events))
    done = events[-1]
    assert kinds == [Pending, Loading, Reading, TextDelta, Done]
    assert isinstance(done, Done)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.completion.text
    assert sum(event.tokens for event in events if isinstance(event, TextDelta)) == (
        done.completion.stats.completion_tokens
    )
    assert [event for event in events if isinstance(event, Loading)][:: len(events)] == [Loading(0.0)]


def test_a_load_goes_from_nothing_to_all(random_model: Path) -> None:
    with fresh_engine(describe_file(random_model, reference="random", source="folder")) as engine:
        fractions = [event.fraction for event in engine.load(Stop())]

    assert fractions[:-1] == sorted(set(fractions[:-1]))
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_a_loaded_model_is_not_loaded_again(engine: KernelEngine) -> None:
    assert list(engine.load(Stop()))[-1] == Loading(1.0)

    assert list(engine.load(Stop())) == []
    assert not any(isinstance(event, Loading) for event in Stream(engine, generation_of(engine, ask(SHORT))))


def test_the_completion_says_what_was_used(engine: KernelEngine, demo: ModelInfo) -> None:
    completion = answer(engine, ask(SHORT, Sampling(max_tokens=2)))

    assert completion.model == ModelUsed(
        reference="demo",
        name="demo",
        engine="kernel",
        device="CPU",
        architecture="llama",
        quantization=demo.quantization,
        size_bytes=demo.size_bytes,
        parameters=demo.parameters,
        gpu_layers=0,
        layers=demo.layers,
        context=demo.context,
    )
    assert completion.versions.engine == f"llama-cpp-python {library().version}"
    assert None not in [
        getattr(completion.sampling, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")
    ]


def test_what_is_not_loaded_has_no_size(engine: KernelEngine) -> None:
    before, name = engine.status(), repr(engine)

    list(engine.load(Stop()))

    assert (before.memory_bytes, before.notices, before.model.device, before.model.context) == (0, (), None, None)
    assert name == "<KernelEngine demo not loaded>"
    assert engine.status().memory_bytes > 10**6
    assert repr(engine) == "<KernelEngine demo loaded>"


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("prompt", [SHORT, LONG, ALIKE], ids=["short", "long", "alike"])
def test_after_a_stop_the_next_answer_is_that_of_a_fresh_model(
    engine: KernelEngine, fresh: Answers, stop: Callable[[KernelEngine], Completion], prompt: str
) -> None:
    stopped = stop(engine)

    texts = [answer(engine, ask(prompt, sampling)).text for sampling in (WILD, GREEDY)]

    assert (stopped.finish_reason, stopped.state) == ("stopped", "stopped")
    assert texts == [fresh[prompt, WILD], fresh[prompt, GREEDY]]


def test_a_stop_while_loading_leaves_nothing_in_memory(engine: KernelEngine) -> None:
    completion = stop_in_load(engine)

    assert (completion.text, engine.status().memory_bytes) == ("", 0)


def test_a_stop_in_decode_keeps_the_text(engine: KernelEngine, fresh: Answers) -> None:
    completion = stop_in_decode(engine)

    assert completion.text
    assert fresh[ALIKE, GREEDY].startswith(completion.text)
    assert completion.stats.completion_tokens >= 5


def test_a_stop_before_the_start_does_nothing(engine: KernelEngine) -> None:
    stop = Stop()
    stop.set()
    generation = generation_of(engine, ask(SHORT))

    for work in (
        lambda: list(engine.load(stop)),
        lambda: list(engine.stream(generation, stop)),
        lambda: engine.preview(ask(SHORT), stop),
    ):
        with pytest.raises(Stopped):
            work()

    assert engine.status().memory_bytes == 0


def test_a_preview_is_what_would_be_sent(engine: KernelEngine) -> None:
    preview = engine.preview(ask(SHORT, Sampling(temperature=0.5)), Stop())
    completion = answer(engine, ask(SHORT, Sampling(max_tokens=1)))

    assert SHORT in preview.prompt
    assert "".join(text for _, text in preview.tokens).endswith(preview.prompt)
    assert len(preview.tokens) == completion.stats.prompt_tokens
    assert (preview.context, preview.sampling.temperature) == (1024, 0.5)


def test_threads_that_ask_at_once_all_get_their_answer(engine: KernelEngine, fresh: Answers) -> None:
    keys = [(prompt, sampling) for prompt in (SHORT, LONG, ALIKE) for sampling in (GREEDY, WILD)]
    texts: Answers = {}

    def work(key: Question) -> None:
        texts[key] = answer(engine, ask(*key)).text

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert texts == {key: fresh[key] for key in keys}


def test_who_waits_for_a_turn_can_stop(engine: KernelEngine) -> None:
    generation = generation_of(engine, ask(SHORT))
    holder = engine.stream(generation, Stop())
    generation.feed(next(holder))
    waiter = Stream(engine, generation_of(engine, ask(SHORT)))

    waiter.close()
    completion = run(holder, generation)

    assert [type(event) for event in waiter] == [Pending, Done]
    assert completion.text


def test_closing_stops_what_runs(engine: KernelEngine) -> None:
    stream = Stream(engine, generation_of(engine, ask(LONG, Sampling(temperature=0.0))))
    next(event for event in stream if isinstance(event, TextDelta))

    engine.close()

    assert stream.completion().finish_reason == "stopped"
    assert (engine.status().memory_bytes, repr(engine)) == (0, "<KernelEngine demo not loaded>")


@pytest.mark.parametrize("is_loaded", [False, True], ids=["not loaded", "loaded"])
def test_after_closing_it_says_so(engine: KernelEngine, is_loaded: bool) -> None:
    if is_loaded:
        list(engine.load(Stop()))

    engine.close()
    engine.close()

    with pytest.raises(UsageError) as caught:
        list(engine.load(Stop()))
    assert (caught.value.message, caught.value.hint) == ("demo was unloaded.", "Type: %llm load demo")
    with pytest.raises(UsageError, match="demo was unloaded"):
        list(engine.stream(generation_of(engine, ask(SHORT)), Stop()))


def abandon(events: Iterator[ProgressEvent]) -> None:
    """Take one event and leave."""
    next(events)
    assert isinstance(events, Generator)
    events.close()


def test_an_abandoned_stream_gives_its_turn_back(engine: KernelEngine, fresh: Answers) -> None:
    abandon(engine.stream(generation_of(engine, ask(LONG)), Stop()))

    assert answer(engine, ask(SHORT)).text == fresh[SHORT, GREEDY]


def test_an_abandoned_load_can_be_repeated(engine: KernelEngine, fresh: Answers) -> None:
    abandon(engine.load(Stop()))

    assert answer(engine, ask(SHORT)).text == fresh[SHORT, GREEDY]


def test_a_file_that_vanished_is_told(tmp_path: Path, demo: ModelInfo) -> None:
    gone = replace(demo, path=tmp_path / "gone.gguf")

    with fresh_engine(gone) as engine, pytest.raises(LoadFailed, match=r"llama\.cpp refused gone\.gguf"):
        list(engine.load(Stop()))


def test_a_file_that_is_truncated_under_an_answer_changes_nothing(
    tmp_path: Path, demo: ModelInfo, fresh: Answers
) -> None:
    assert demo.path is not None
    path = Path(shutil.copy(demo.path, tmp_path / "mine.gguf"))

    def truncate(event: ProgressEvent) -> None:
        if isinstance(event, TextDelta):
            os.truncate(path, 0)

    with fresh_engine(describe_file(path, reference="mine", source="folder")) as engine:
        generation = generation_of(engine, ask(SHORT))
        first = run(engine.stream(generation, Stop()), generation, truncate)
        second = answer(engine, ask(LONG))

    assert (first.text, second.text) == (fresh[SHORT, GREEDY], fresh[LONG, GREEDY])


def test_an_engine_with_other_options_is_a_new_one(engine: KernelEngine) -> None:
    options = LoadOptions(threads=1, ctx=256)

    other = engine.with_options(options)

    assert other is not engine
    assert other.status().options == options
    assert other.status().model == engine.status().model


EXIT = """
import atexit, threading

from localllm_magics.catalog.discover import bundled_model
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel import engine as module

began = threading.Event()


class Endless:
    def __init__(self, *_, stop, **__):
        began.set()
        stop.wait(None)
        raise Stopped


module.LoadedModel = Endless
engine = module.KernelEngine(bundled_model(), LoadOptions(threads=1))
atexit.register(engine.close)
threading.Thread(target=lambda: list(engine.load(Stop())), daemon=True).start()
began.wait()
"""


def test_the_end_of_the_process_stops_a_load() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    assert subprocess.run([sys.executable, "-c", EXIT], env=environment, check=False, timeout=120).returncode == 0


def test_a_stop_ends_a_preview_in_its_template(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "x.gguf", {"tokenizer.chat_template": ENDLESS})
    stop = Stop()

    with fresh_engine(describe_file(path, reference="x", source="folder")) as engine:
        list(engine.load(Stop()))
        threading.Timer(0.05, stop.set).start()

        with pytest.raises(Stopped):
            engine.preview(ask(SHORT), stop)


UNLOAD = """
import resource, sys
from pathlib import Path

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.model import Model


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


info = describe_file(Path(sys.argv[1]), reference="random", source="folder")
sizes = []
for _ in range(4):
    model = Model(KernelEngine(info, LoadOptions(threads=1, ctx=2048)), info)
    model.complete("Why?", max_tokens=2)
    sizes.append(resident())
    model.unload()
    sizes.append(resident())
print(*sizes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process does not know its size")
def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    # glibc keeps buffers of up to 32 MB for later, once it has seen one.
    path = write_random_model(tmp_path / "random.gguf", layers=24)
    result = subprocess.run(
        [sys.executable, "-c", UNLOAD, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    sizes = [int(size) for size in result.stdout.split()]
    loaded, unloaded = sizes[::2], sizes[1::2]
    # Weights of 80 MB; the first time, libraries come into memory too.
    assert all(before - after > 70e6 for before, after in zip(loaded, unloaded, strict=True))
    # What is lost is lost in each round; what the system takes its time with is not.
    assert min(unloaded[1:]) - unloaded[0] < 10e6


def test_closing_waits_for_a_load_that_nobody_waits_for(demo: ModelInfo) -> None:
    begun, may_end, stop = threading.Event(), threading.Event(), Stop()

    class Slow(KernelEngine):
        def _open(self, loaded: list[float], stop: Stop) -> None:
            begun.set()
            may_end.wait()
            super()._open(loaded, Stop())

    engine = Slow(demo, LoadOptions(threads=1))
    loading = engine.load(stop)
    next(loading)
    stop.set()
    with pytest.raises(Stopped):
        next(loading)
    begun.wait()
    closing = threading.Thread(target=engine.close)
    closing.start()
    closing.join(0.3)  # one that does not wait is done by then
    may_end.set()
    closing.join()
    opening = engine._opening  # noqa: SLF001 - nobody else waits for it
    assert opening is not None
    opening.exception()

    assert engine.status().memory_bytes == 0
