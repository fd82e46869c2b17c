"""The engine for llamafiles, through `Model`, on a stand-in that runs the real llama-server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from localllm_magics.core.errors import LoadFailed
from localllm_magics.core.events import Done, Failed, Loading, Pending, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.openai.engine import OpenAIEngine
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from tests.engines.openai.asking import ENDLESS, completion_of, error_of, events_of
from tests.server.llama_server import llama_server_program
from tests.server.llamafile_stand_in import make_llamafile
from tests.server.waiting import wait_until

ARGS = "-m\n/zip/model.gguf\n-c\n1024\n-np\n1\n-t\n1\n--context-shift\n...\n"
Open = Callable[..., Model]


@pytest.fixture
def llamafile(tmp_path: Path, demo_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_llamafile(tmp_path / "x.llamafile", demo_gguf, ARGS, llama_server_program())


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes models of llamafiles, which the end of the test unloads."""
    models: list[Model] = []

    def make(path: Path, options: LoadOptions | None = None) -> Model:
        info = ModelInfo(
            reference=f"llamafile:{path}", name="x", source="folder", path=path, kind="chat", engine="llamafile"
        )
        models.append(Model(new_engine(info, options or LoadOptions(), ServerSettings()), info))
        return models[-1]

    yield make
    for model in models:
        model.unload()


def servers() -> list[psutil.Process]:
    """The llamafiles that this process has started."""
    return [process for process in psutil.Process().children(recursive=True) if _first_word(process) == "llamafile"]


def _first_word(process: psutil.Process) -> str:
    try:
        return next(iter(process.cmdline()), "")
    except psutil.NoSuchProcess:
        return ""


def test_it_is_started_for_the_first_question(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile)

    *events, last = events_of(model, max_tokens=4)

    assert isinstance(last, Done)
    assert events[:2] == [Pending(), Loading(0.0)]
    assert Loading(1.0) in events
    completion = last.completion
    assert (completion.stats.completion_tokens, completion.stats.estimated) == (4, False)
    assert completion.stats.load_seconds > 0
    assert (completion.model.engine, completion.model.context) == ("llamafile", 1024)


def test_load_options_become_arguments(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile, LoadOptions(ctx=256, gpu_layers=0, threads=1))
    model.load()

    (server,) = servers()
    assert server.cmdline()[-6:] == ["-c", "256", "-ngl", "0", "-t", "1"]
    assert model.context == 256


def test_two_references_share_one_process(llamafile: Path, opened: Open) -> None:
    first, second = opened(llamafile), opened(llamafile)
    completion_of(first, max_tokens=2)
    completion_of(second, max_tokens=2)
    count = len(servers())
    first.unload()

    assert completion_of(second, max_tokens=2).finish_reason == "length"
    assert (count, len(servers())) == (1, 1)


def test_unloading_ends_the_process(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile)
    model.load()
    was_running = len(servers())
    model.unload()

    assert (was_running, servers()) == (1, [])


def test_other_options_are_another_process_and_unloading_the_first_leaves_it(llamafile: Path, opened: Open) -> None:
    first = opened(llamafile)
    completion_of(first, max_tokens=2)
    second = opened(llamafile, LoadOptions(ctx=256))
    first.unload()
    completion_of(second, max_tokens=2)
    first.unload()
    count = len(servers())
    second.unload()

    assert (count, servers()) == (1, [])


def test_it_is_started_again_after_it_died(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile)
    completion_of(model, max_tokens=2)
    (server,) = servers()
    server.kill()
    engine = model._engine  # noqa: SLF001 - only it knows that the supervisor has ended too
    assert isinstance(engine, OpenAIEngine)
    wait_until(lambda: engine._server.has_exited, "exited")  # noqa: SLF001 - same

    events = events_of(model, max_tokens=2)

    assert events[1] == Loading(0.0)
    assert isinstance(events[-1], Done)


def test_a_stop_while_it_starts_is_no_failure(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile)
    with model.stream("Hi", max_tokens=400) as stream:
        next(event for event in stream if isinstance(event, Loading))
        stream.stop()
        completion = stream.completion()

    assert (completion.finish_reason, completion.text) == ("stopped", "")
    assert completion_of(model, max_tokens=2).stats.completion_tokens == 2


def test_dying_in_an_answer_leaves_the_text(llamafile: Path, opened: Open) -> None:
    model = opened(llamafile)
    model.load()
    (server,) = servers()
    with model.stream("Tell me a story.", schema=ENDLESS, temperature=1.5, seed=1) as stream:
        next(event for event in stream if isinstance(event, TextDelta))
        server.kill()
        *_, last = stream

    assert isinstance(last, Failed)
    assert last.completion.text != ""


def test_weights_that_are_none_are_errors(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_text("no model")
    file = make_llamafile(tmp_path / "x.llamafile", tmp_path / "bad.gguf", ARGS, llama_server_program())

    error = error_of(opened(file))

    assert isinstance(error, LoadFailed)
    assert "x.llamafile exited with status 1 before it answered: it could not load its model." in error.message


def test_a_key_for_other_servers_of_llama_cpp_does_not_lock_it(
    llamafile: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "secret")

    assert completion_of(opened(llamafile), max_tokens=2).finish_reason == "length"
