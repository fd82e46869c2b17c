import sys
import threading
from collections.abc import Callable

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import HOST, DeviceMemory, MemoryPlan
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import library
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine
from tests.engines.planner.shapes import GB, MB, machine


def test_room_is_made_for_what_the_load_needs_before_it_is_missed(demo: ModelInfo) -> None:
    needed: list[int] = []
    thread: list[str] = []

    def make_room(plan: Callable[[], MemoryPlan], _is_forced: bool) -> None:
        needed.append(plan().needed)
        thread.append(threading.current_thread().name)

    engine = KernelEngine(demo, LoadOptions(ctx=2_000_000_000), make_room)
    with pytest.raises(NotEnoughMemory):
        list(engine.load(Stop()))
    again = engine.with_options(LoadOptions(threads=1))
    list(again.load(Stop()))
    loaded = again.status().memory_bytes
    again.close()

    assert needed[0] > 10**12
    assert loaded / 2 < needed[1] < 10 * loaded
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


@pytest.mark.parametrize("is_imported", [False, True])
def test_a_build_is_imported_where_there_is_room_for_it_and_used_where_it_is_there(
    demo: ModelInfo, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    full = DeviceMemory(name=HOST, free=1, total=1, is_host=True)
    monkeypatch.setattr("localllm_magics.engines.kernel.engine.host_memory", lambda: full)
    library()
    if not is_imported:
        monkeypatch.delitem(sys.modules, "llama_cpp")

    with fresh_engine(demo) as engine:
        completion = answer(engine, ask(SHORT))

    assert completion.finish_reason == ("length" if is_imported else "error")


def test_a_small_gpu_is_no_reason_to_refuse_what_the_host_has_room_for(
    demo: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[MemoryPlan] = []
    small = machine(16 * GB, 16 * MB)
    monkeypatch.setattr("localllm_magics.engines.kernel.engine.machine_memory", lambda _: small)
    engine = KernelEngine(demo, LoadOptions(ctx=8192), lambda plan, _is_forced: plans.append(plan()))

    list(engine.load(Stop()))
    engine.close()

    assert [plan.settings.gpu_layers for plan in plans] == [0]
