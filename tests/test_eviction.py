from collections.abc import Mapping
from dataclasses import replace

import pytest

from localllm_magics.core.memory_plan import HOST, DeviceMemory, DeviceUse, MemoryPlan, PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.eviction import Limits, Missing, Resident, idle, over_free, over_limit, to_free
from localllm_magics.model import Model
from localllm_magics.testing import ScriptedEngine


def resident(name: str, held: int | Mapping[str, int], last_used: float, state: str = "") -> Resident:
    model = Model(ScriptedEngine(reference=name), ModelInfo(reference=name, name=name, source="bundled"))
    memory = {HOST: held} if isinstance(held, int) else held
    return Resident(model=model, held=memory, last_used=last_used, is_pinned="pinned" in state, is_busy="busy" in state)


def names(residents: tuple[Resident, ...]) -> str:
    return " ".join(resident.model.info.reference for resident in residents)


OLD, NEW, NEWER = resident("old", 10, 1), resident("new", 20, 2), resident("newer", 30, 3)
PINNED, BUSY, EMPTY = resident("pinned", 50, 0, "pinned"), resident("busy", 50, 0, "busy"), resident("empty", {}, 0)
GPU = resident("on-gpu", {HOST: 5, "CUDA0": 40}, 4)


@pytest.mark.parametrize(
    ("missing", "residents", "leaving"),
    [
        pytest.param(Missing(size=5), (), "", id="nobody there"),
        pytest.param(Missing(size=0), (OLD, NEW), "", id="nothing missing"),
        pytest.param(Missing(size=-5), (OLD, NEW), "", id="more than enough"),
        pytest.param(Missing(size=10), (NEWER, OLD, NEW), "old", id="the least recently used"),
        pytest.param(Missing(size=11), (NEWER, OLD, NEW), "old new", id="two"),
        pytest.param(Missing(size=60), (NEWER, OLD, NEW), "old new newer", id="all"),
        pytest.param(Missing(size=61), (NEWER, OLD, NEW), "", id="not enough, so none"),
        pytest.param(Missing(size=10), (PINNED, BUSY, EMPTY, NEW), "new", id="who may not leave"),
        pytest.param(Missing(size=30), (PINNED, BUSY, EMPTY, NEW), "", id="of who may leave, not enough"),
        pytest.param(Missing(size=10, memories=frozenset({"CUDA0"})), (OLD, GPU), "on-gpu", id="on a device"),
        pytest.param(Missing(size=10, memories=frozenset({HOST})), (GPU, OLD), "old", id="on the host"),
        pytest.param(Missing(size=12, memories=frozenset({HOST})), (GPU, OLD), "old on-gpu", id="parts on the host"),
        pytest.param(Missing(size=50), (GPU, OLD), "old on-gpu", id="in any memory"),
    ],
)
def test_the_least_recently_used_leave_first(missing: Missing, residents: tuple[Resident, ...], leaving: str) -> None:
    assert names(to_free(missing, residents)) == leaving


def test_all_may_leave_although_they_are_not_enough() -> None:
    assert names(to_free(Missing(size=100), (NEW, PINNED, OLD), is_all_or_nothing=False)) == "old new"


@pytest.mark.parametrize(("needed", "missing"), [(0, -40), (40, 0), (50, 10)])
def test_what_is_missing_within_a_limit_is_what_all_need_together(needed: int, missing: int) -> None:
    assert over_limit(100, needed, [OLD, PINNED]) == Missing(size=missing)


def plan(host: tuple[int, int], gpu: tuple[int, int] = (0, 0), *, is_host: bool = False) -> MemoryPlan:
    memory = DeviceMemory(name="GPU0", free=gpu[1], total=100, is_host=is_host)
    uses = (DeviceUse(memory=DeviceMemory(name=HOST, free=host[1], total=100, is_host=True), weights=host[0]),)
    return MemoryPlan(settings=PlanSettings(context=1), uses=(*uses, DeviceUse(memory=memory, weights=gpu[0])))


@pytest.mark.parametrize(
    ("planned", "missing"),
    [
        pytest.param(plan((8, 10)), Missing(size=0), id="enough"),
        pytest.param(plan((9, 10)), Missing(size=1, memories=frozenset({HOST})), id="too little for the reserve"),
        pytest.param(plan((8, 10), (9, 3)), Missing(size=6, memories=frozenset({"GPU0"})), id="on a device"),
        pytest.param(
            plan((8, 10), (9, 10), is_host=True),
            Missing(size=9, memories=frozenset({HOST, "GPU0"})),
            id="on a device with the host's memory",
        ),
    ],
)
def test_what_is_missing_without_a_limit_is_what_is_not_free(planned: MemoryPlan, missing: Missing) -> None:
    assert over_free(replace(planned, reserve=2)) == missing


@pytest.mark.parametrize(
    ("residents", "now", "leaving", "wait"),
    [
        pytest.param((), 100, "", None, id="nobody there"),
        pytest.param((OLD, NEW), 5, "", 6, id="too early"),
        pytest.param((OLD, NEW), 11, "old", 1, id="one"),
        pytest.param((NEW, OLD), 20, "new old", None, id="both"),
        pytest.param((PINNED, OLD), 100, "old", None, id="a pinned one stays"),
        pytest.param((BUSY, OLD), 100, "old", 10, id="a busy one is looked at again"),
        pytest.param((PINNED,), 100, "", None, id="for a pinned one nobody waits"),
        pytest.param((EMPTY,), 100, "empty", None, id="of unknown size"),
    ],
)
def test_what_was_unused_for_long_leaves(
    residents: tuple[Resident, ...], now: float, leaving: str, wait: float | None
) -> None:
    found, seconds = idle(residents, 10, now)

    assert (names(found), seconds) == (leaving, wait)


def test_a_busy_one_is_not_looked_at_all_the_time_however_soon_it_is_to_leave() -> None:
    assert idle((BUSY,), 0.0, 100) == ((), 1.0)


def test_by_default_nothing_is_limited() -> None:
    assert Limits() == Limits(memory_bytes=None, idle_seconds=None)
