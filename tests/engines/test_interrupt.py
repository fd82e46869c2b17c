"""What Ctrl-C does to a real process: each test has one of its own, and sends the signal from outside."""

import signal
import sys
import textwrap
from pathlib import Path

import pytest

from tests.kernel.endless_model import write_endless_model
from tests.processes import started

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# A watcher tells when the worker is where it should be interrupted; the parent then sends the signal.
PROGRAM = """
import signal, sys, threading, time

from localllm_magics.core.events import Loading, Reading, TextDelta
from localllm_magics.core.request import LoadOptions
from localllm_magics.catalog.inspect import describe_file
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.stream import running_streams
from localllm_magics.model import Model
from pathlib import Path

# A shell's background job, as a test run may be, begins with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)


def new_model():
    info = describe_file(Path(sys.argv[1]), reference="endless", source="folder")
    return Model(KernelEngine(info, LoadOptions(threads=1, ctx=32768)), info)


def say(word):
    print(word, flush=True)


def tell_when(question):
    def watch():
        while not question():
            time.sleep(0.001)
        say("now")

    threading.Thread(target=watch, daemon=True, name="watcher").start()


def is_loading():
    return any(thread.name == "localllm-load" for thread in threading.enumerate())


def has_seen(kind, count):
    # Not found with gc.get_objects(): it shows half-made tuples, and who makes them then fails.
    def question():
        return any(sum(isinstance(event, kind) for event in stream.since(0)) >= count for stream in running_streams())

    return question


model = new_model()
question = "What is a token?"
long_prompt = "what is a model and a token " * 4400
try:
{deed}
except KeyboardInterrupt:
    say("interrupted")
workers = [thread.name for thread in threading.enumerate() if thread.name.startswith("localllm")]
say([name for name in workers if not name.startswith("localllm-load")])
while is_loading():
    time.sleep(0.001)  # it may still be on its way out, but must end
say(repr(model.complete(question, temperature=0, max_tokens=8).text))
model.unload()
say(repr(new_model().complete(question, temperature=0, max_tokens=8).text))
"""


@pytest.fixture(scope="module")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_endless_model(tmp_path_factory.mktemp("models") / "endless.gguf")


@pytest.mark.parametrize(
    "deed",
    [
        pytest.param("tell_when(is_loading)\nmodel.load()", id="load"),
        pytest.param("tell_when(is_loading)\nmodel.complete(question)", id="load of complete"),
        pytest.param("tell_when(has_seen(Reading, 2))\nmodel.complete(long_prompt)", id="prefill"),
        pytest.param("tell_when(has_seen(TextDelta, 3))\nmodel.complete(question, temperature=0)", id="decode"),
        pytest.param(
            "tell_when(has_seen(TextDelta, 3))\n"
            "with model.stream(question, temperature=0) as stream:\n    for event in stream:\n        pass",
            id="decode of stream",
        ),
    ],
)
def test_an_interrupt_ends_it_and_the_next_answer_is_right(endless_model: Path, tmp_path: Path, deed: str) -> None:
    program = PROGRAM.replace("{deed}", textwrap.indent(deed, "    "))
    environment = {"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    with started([sys.executable, "-c", program, str(endless_model)], env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        status = process.wait()

    outcome, workers, next_answer, fresh_answer = rest
    assert (first, outcome, workers) == ("now\n", "interrupted", "[]")
    assert next_answer == fresh_answer
    assert status == 0
