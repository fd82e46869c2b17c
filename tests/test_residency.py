import threading
from collections.abc import Iterator

import pytest

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.request import LoadOptions
from localllm_magics.eviction import Limits
from localllm_magics.model import Model
from localllm_magics.residency import Residency
from tests.heavy_engine import MB, Heavies
from tests.server.waiting import wait_until


@pytest.fixture
def heavies() -> Iterator[Heavies]:
    made = Heavies(free=100)
    yield made
    made.residency.close()


def test_without_a_limit_all_stay_that_fit(heavies: Heavies) -> None:
    for name in ("a", "b", "c"):
        heavies.loaded(name, 30)

    assert (heavies.in_memory, heavies.times_told, heavies.residency.limits) == ("a b c", 0, Limits())
    assert repr(heavies.residency) == f"<Residency: 90.0 MB in use, {Limits()}>"


def test_without_a_limit_the_least_recently_used_leaves_where_memory_is_short(heavies: Heavies) -> None:
    one, _ = heavies.loaded("a", 30), heavies.loaded("b", 30)
    heavies.now += 1
    one.complete("Hello")
    heavies.loaded("c", 60)

    assert (heavies.in_memory, heavies.times_told) == ("a c", 1)
    assert heavies.models[1].absence == "room was made for c"


def test_without_a_limit_none_leaves_in_vain(heavies: Heavies) -> None:
    heavies.loaded("a", 30)
    heavies.loaded("b", 101)

    assert heavies.in_memory == "a b"  # what refuses the load is the engine's own guard


def test_by_force_all_leave_though_that_is_not_enough(heavies: Heavies) -> None:
    heavies.loaded("a", 30)
    heavies.new("b", 101).reload(LoadOptions(force=True))
    heavies.models[-1].load()

    assert heavies.in_memory == "b"


def test_within_a_limit_the_least_recently_used_leaves(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=50 * MB)
    for name in ("a", "b", "c"):
        heavies.loaded(name, 20)

    assert (heavies.in_memory, heavies.residency.memory_bytes) == ("b c", 40 * MB)


def test_what_has_left_is_loaded_again_when_it_is_asked(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=30 * MB)
    one = heavies.loaded("a", 20)
    heavies.loaded("b", 20)
    before = (one.is_loaded, one.is_unloaded, one.memory_bytes)

    completion = one.complete("Hello")

    assert before == (False, False, 0)
    assert (completion.text, heavies.in_memory) == ("Hi there.", "a")
    assert completion.notices == ("Unloaded b (20.0 MB), the least recently used, to make room.",)


def test_a_lower_limit_has_models_leave_at_once(heavies: Heavies) -> None:
    for name in ("a", "b", "c"):
        heavies.loaded(name, 20)
    heavies.models[1].is_pinned = True

    heavies.residency.limits = Limits(memory_bytes=45 * MB)
    after_one = heavies.in_memory
    heavies.residency.limits = Limits(memory_bytes=1)

    assert (after_one, heavies.in_memory, heavies.times_told) == ("b c", "b", 2)
    assert heavies.models[0].absence == "the memory limit was lowered"


def test_a_limit_below_the_smallest_model_is_an_error_that_says_how_to_change_it(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=10 * MB)

    with pytest.raises(NotEnoughMemory) as caught:
        heavies.loaded("a", 20)

    assert caught.value.message == "a needs 20.0 MB, and the memory limit is 10.0 MB."
    assert caught.value.hint.startswith('Type: %config LocalLLM.memory_limit = "20 MB".')
    assert heavies.in_memory == ""


def test_what_stays_is_named_where_there_is_no_room_beside_it(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=2000 * MB)
    heavies.loaded("a", 1500).is_pinned = True
    heavies.loaded("b", 300)

    with heavies.models[1].activity.using(), pytest.raises(NotEnoughMemory) as caught:
        heavies.loaded("c", 1250)

    assert caught.value.message == (
        "c needs 1.2 GB, and the memory limit is 2.0 GB, of which 1.8 GB are held by a and b, pinned or in use."
    )
    assert 'memory_limit = "3.1 GB"' in caught.value.hint
    assert heavies.in_memory == "a b"


def test_by_force_a_model_is_loaded_beyond_the_limit(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=30 * MB)
    heavies.loaded("a", 20)
    model = heavies.new("b", 40)
    model.reload(LoadOptions(force=True))
    model.load()

    assert heavies.in_memory == "b"


def test_a_model_that_is_loaded_with_other_options_does_not_count_twice(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=30 * MB)
    model = heavies.loaded("a", 20)

    model.reload(LoadOptions(ctx=512))
    model.load()

    assert (heavies.in_memory, heavies.residency.memory_bytes) == ("a", 20 * MB)


def test_what_is_being_loaded_counts_already(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=30 * MB)
    one, other = heavies.new("a", 20), heavies.new("b", 20)
    with one.activity.using():
        heavies.residency.make_room(one, lambda: heavies.machine.plan(20))

        with pytest.raises(NotEnoughMemory, match=r"of which 20\.0 MB are held by a"):
            other.load()
    other.load()  # for a was not loaded, and is not any more

    assert heavies.in_memory == "b"


def test_what_answers_stays(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=50 * MB)
    one = heavies.loaded("a", 20, hangs_after=1)
    heavies.loaded("b", 20)
    with one.stream("Hello") as stream:
        heavies.loaded("c", 20)
        during = heavies.in_memory
        is_running = stream.is_running
        heavies.now += 1
    heavies.loaded("d", 20)

    assert (during, is_running) == ("a c", True)
    assert heavies.in_memory == "a d"  # for c was used before


def test_without_a_time_to_live_no_thread_runs(heavies: Heavies) -> None:
    heavies.loaded("a", 20)
    heavies.residency.watch()

    assert [thread for thread in threading.enumerate() if thread.name == "localllm-idle"] == []


def test_idle_models_leave(heavies: Heavies) -> None:
    one, pinned = heavies.loaded("a", 20), heavies.loaded("b", 20)
    pinned.is_pinned = True
    heavies.residency.limits = Limits(idle_seconds=60)
    heavies.now += 58
    heavies.residency.watch()
    too_early = heavies.in_memory
    heavies.now += 10
    heavies.residency.watch()

    assert (too_early, heavies.in_memory, heavies.times_told) == ("a b", "b", 1)
    assert one.absence == "nothing had used it for 60 s"


def test_the_thread_has_idle_models_leave(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(idle_seconds=0)
    with heavies.new("a", 20).activity.using():
        heavies.models[0].load()
        during = heavies.in_memory
    wait_until(lambda: not heavies.in_memory, "left")

    assert during == "a"


def test_what_answers_is_not_idle(heavies: Heavies) -> None:
    one = heavies.loaded("a", 20, hangs_after=1)
    with one.stream("Hello") as stream:
        heavies.residency.limits = Limits(idle_seconds=60)
        heavies.now += 1000
        heavies.residency.watch()
        during = (heavies.in_memory, stream.is_running)
    heavies.residency.watch()
    after = heavies.in_memory
    heavies.now += 60
    heavies.residency.watch()

    assert (during, after, heavies.in_memory) == (("a", True), "a", "")


def test_nothing_leaves_that_is_used_in_many_threads(heavies: Heavies) -> None:
    heavies.residency.limits = Limits(memory_bytes=50 * MB, idle_seconds=0)
    models = [heavies.new(name, 20) for name in "abcd"]
    texts: list[str] = []

    def work(model: int) -> None:
        for _ in range(25):
            try:
                texts.append(models[model].complete("Hello").text)
            except NotEnoughMemory as exc:  # all others were in use
                assert "pinned or in use" in exc.message  # noqa: PT017 - either is right

    threads = [threading.Thread(target=work, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(texts) == {"Hi there."}
    assert sum(engine.megabytes for engine in heavies.machine.loaded) <= 50


def test_what_is_used_meanwhile_stays(heavies: Heavies) -> None:
    one = heavies.loaded("a", 60)
    since = one.activity.last_used
    heavies.now += 1
    one.complete("Hello")

    assert not one.release(since, "it was chosen before")
    assert (heavies.in_memory, one.absence) == ("a", "")


def test_who_was_chosen_and_is_used_meanwhile_is_replaced_by_another(heavies: Heavies) -> None:
    one, other = heavies.loaded("a", 30), heavies.loaded("b", 30)
    used: list[str] = []

    def models() -> Iterator[Model]:
        yield one
        if not used:
            heavies.now += 1
            used.append(one.complete("Hello").text)
        yield other

    Residency(models, lambda: None, heavies.clock).make_room(heavies.new("c", 60), lambda: heavies.machine.plan(60))

    assert heavies.in_memory == "a"
