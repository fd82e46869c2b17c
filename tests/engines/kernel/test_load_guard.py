import threading

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.plan import RESERVE
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine


def test_room_is_made_for_what_the_load_needs_before_it_is_missed(demo: ModelInfo) -> None:
    needed: list[int] = []
    thread: list[str] = []

    def make_room(size: int) -> None:
        needed.append(size)
        thread.append(threading.current_thread().name)

    engine = KernelEngine(demo, LoadOptions(ctx=2_000_000_000), make_room)
    with pytest.raises(NotEnoughMemory):
        list(engine.load(Stop()))
    again = engine.with_options(LoadOptions(threads=1))
    list(again.load(Stop()))
    loaded = again.status().memory_bytes
    again.close()

    assert needed[0] > 10**12
    assert loaded < needed[1] < 10 * loaded + RESERVE
    assert thread == ["localllm-load"] * 2


def test_a_load_for_which_there_is_no_thread_has_failed_and_was_not_stopped(
    demo: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "localllm-load":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_others)

    with fresh_engine(demo) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.finish_reason == "error"
    assert completion.error is not None
    assert completion.error.message.startswith("The system allows no more threads")
