"""A model in a forked process: idle it answers there, too, and busy it is loaded again; nothing hangs."""

import os
import subprocess
import sys

import pytest

from localllm_magics.core.errors import SetupError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Device, Library, library
from localllm_magics.engines.kernel.placement import Placement
from localllm_magics.engines.stream import Stream
from tests.engines.kernel.asking import GREEDY, SHORT, Answers, answer, ask, generation_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
PROGRAM = """
import os, sys
import localllm_magics as llm

FORKED = "The answer is made in the process that was forked."

def status_of(check):
    process = os.fork()
    if process == 0:
        os._exit(0 if check() else 1)
    return os.waitpid(process, 0)[1]

def ask(model=None):
    return (model or loaded).complete("Why?", max_tokens=4, temperature=0).text

def end_of(stream):
    try:
        stream.completion()
    except llm.LocalLLMError as error:
        return error.message

loaded = llm.load("demo", threads=int(sys.argv[1]))
expected = ask()
statuses = [status_of(lambda: ask() == expected)]
with loaded.stream("Tell me a story", max_tokens=30, temperature=0) as events:
    for number, event in enumerate(events):
        if number == 10:
            statuses.append(status_of(lambda: ask() == expected))
            statuses.append(status_of(lambda: ask(llm.load("demo")) == expected))
            statuses.append(status_of(lambda: end_of(events) in (None, FORKED)))
print(statuses, events.completion().finish_reason, ask() == expected)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_is_answered_while_the_other_generates(threads: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.stdout.startswith("[0, 0, 0, 0] "), done.stderr
    assert done.stdout.endswith(" True\n")


def test_an_idle_model_stays_in_memory(engine: KernelEngine, fresh: Answers) -> None:
    list(engine.load(Stop()))

    engine.after_fork()

    assert engine.status().model.device == "CPU"
    assert answer(engine, ask(SHORT)).text == fresh[SHORT, GREEDY]


def test_a_model_that_answers_is_loaded_again(engine: KernelEngine, fresh: Answers) -> None:
    with Stream(engine, generation_of(engine, ask(SHORT))) as stream:
        list(stream)
        with engine._turn(Stop()):  # noqa: SLF001 - as a thread holds it that is not in the new process
            engine.after_fork()

    assert engine.status().model.device is None
    assert answer(engine, ask(SHORT)).text == fresh[SHORT, GREEDY]


def test_a_model_on_a_gpu_is_forgotten(demo: ModelInfo) -> None:
    class OnGPU:
        placement = Placement(device="CUDA0", gpu_layers=7, memory_bytes=1)

    engine = KernelEngine(demo, LoadOptions())
    engine._loaded = OnGPU()  # type: ignore[assignment] # noqa: SLF001 - there need not be a GPU here

    engine.after_fork()

    assert engine._loaded is None  # noqa: SLF001 - the same


def test_a_gpu_is_not_used_in_a_forked_process(lib: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "_process", 1)
    monkeypatch.setattr(lib, "_is_gpu", lambda _: True)

    with pytest.raises(SetupError, match="forked from one that uses the GPU") as caught:
        library()

    assert "spawn" in caught.value.hint
    assert isinstance(lib.devices()[0], Device)
