"""Several real models in one session, and the memory that they give back."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics import api
from localllm_magics.core.errors import LocalLLMError, NotEnoughMemory
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.kernel.machine import private_memory
from localllm_magics.eviction import Limits
from localllm_magics.session import Session, default_session
from tests.engines.kernel.random_model import write_random_model
from tests.forking import in_forked_process
from tests.server.waiting import wait_until
from tests.test_session import ANY, keep, scripted

MB = 1_000_000
_ONE_AND_A_HALF = Limits(memory_bytes=16 * MB)  # times the bundled model, with its usual context


@pytest.fixture
def clean_session() -> Iterator[Session]:
    yield default_session()
    default_session().close()


def loaded(session: Session, reference: str) -> None:
    use = session.use(reference, ANY)
    use.model.load()
    use.keep()


def in_memory(session: Session) -> list[str]:
    return [model.info.reference for model in session.models if model.is_loaded]


def test_the_least_recently_used_leaves_and_comes_back_when_it_is_used(new_session: Session, folder: Path) -> None:
    new_session.residency.limits = _ONE_AND_A_HALF
    loaded(new_session, "demo")
    loaded(new_session, "mine.gguf")
    seen = [in_memory(new_session)]
    demo_model = new_session.models[0]
    answer = demo_model.complete("Hello", max_tokens=2)
    seen.append(in_memory(new_session))

    assert seen == [["mine.gguf"], ["demo"]]
    assert answer.notices == ("Unloaded mine.gguf (10.8 MB), the least recently used, to make room.",)
    assert len(new_session.models) == 2


def test_the_current_model_stays_the_current_one_out_of_memory(new_session: Session, folder: Path) -> None:
    loaded(new_session, "demo")
    loaded(new_session, "mine.gguf")

    new_session.residency.limits = Limits(memory_bytes=1)

    assert (in_memory(new_session), new_session.use(None, ANY).model) == ([], new_session.models[1])


def test_what_is_about_to_be_asked_stays(new_session: Session, folder: Path) -> None:
    new_session.residency.limits = _ONE_AND_A_HALF
    loaded(new_session, "demo")
    use = new_session.use("demo", ANY)
    other = new_session.use("mine.gguf", ANY)

    with pytest.raises(NotEnoughMemory, match="held by demo, pinned or in use"):
        other.model.load()
    other.undo()
    use.undo()

    assert in_memory(new_session) == ["demo"]


def test_what_cannot_be_loaded_takes_nothing_away(new_session: Session, folder: Path) -> None:
    new_session.residency.limits = _ONE_AND_A_HALF
    loaded(new_session, "demo")
    use = new_session.use("mine.gguf", LoadOptions(ctx=100_000))

    with pytest.raises(NotEnoughMemory):
        use.model.load()
    use.undo()

    assert (in_memory(new_session), new_session.current) == (["demo"], new_session.models[0])


@pytest.mark.parametrize("is_pinned", [False, True])
@pytest.mark.parametrize(
    ("limits", "ctx"),
    [
        pytest.param(Limits(), 2_000_000_000, id="free memory"),
        pytest.param(_ONE_AND_A_HALF, 100_000, id="the memory limit"),
    ],
)
def test_a_refused_change_leaves_the_model_and_its_answer_alone(
    new_session: Session, limits: Limits, ctx: int, *, is_pinned: bool
) -> None:
    loaded(new_session, "demo")
    (model,) = new_session.models
    model.is_pinned = is_pinned
    new_session.residency.limits = limits
    before = model.options
    with model.stream("Tell me a story.", max_tokens=20) as stream:
        next(iter(stream))
        with pytest.raises(NotEnoughMemory):
            new_session.use("demo", LoadOptions(ctx=ctx))
        reason = stream.completion().finish_reason

    assert reason in ("stop", "length")
    assert (new_session.current, model.is_loaded, model.options, model.is_pinned) == (model, True, before, is_pinned)


def test_what_a_model_gives_back_itself_is_room_for_its_change(new_session: Session) -> None:
    new_session.residency.limits = _ONE_AND_A_HALF
    loaded(new_session, "demo")
    use = new_session.use("demo", LoadOptions(ctx=512))
    use.model.load()
    use.keep()

    assert (use.notices, use.model.context) == (("Reloaded with --ctx 512.",), 512)


def test_a_model_without_experts_is_not_loaded_again_for_them(new_session: Session) -> None:
    loaded(new_session, "demo")
    notices = []
    for options in (LoadOptions(cpu_moe="all"), LoadOptions(cpu_moe=3), ANY):
        use = new_session.use("demo", options)
        notices.append(use.notices)
        use.keep()

    assert notices == [("--cpu-moe changes nothing: demo has no experts.",)] * 2 + [()]
    assert new_session.models[0].is_loaded


def test_those_who_want_to_know_are_told_that_a_model_has_left(new_session: Session) -> None:
    loaded(new_session, "demo")
    seen: list[list[str]] = []
    new_session.subscribe(lambda: seen.append(in_memory(new_session)))

    new_session.residency.limits = Limits(memory_bytes=1)

    assert seen == [[]]


def test_those_who_want_to_know_are_told_when_a_load_begins_and_when_it_has_ended(new_session: Session) -> None:
    seen: list[tuple[bool, bool]] = []
    use = new_session.use("demo", ANY)
    new_session.subscribe(lambda: seen.extend((model.is_loading, model.is_loaded) for model in new_session.in_use))

    use.model.load()
    before_the_end_of_its_use = new_session.models
    use.keep()

    assert (seen[0], seen[-1]) == ((True, False), (False, True))
    assert (before_the_end_of_its_use, new_session.models, new_session.in_use) == ((), (use.model,), (use.model,))


def test_a_load_that_failed_has_ended(new_session: Session) -> None:
    use = new_session.use("demo", LoadOptions(ctx=2_000_000_000))
    seen: list[bool] = []
    new_session.subscribe(lambda: seen.append(use.model.is_loading))

    with pytest.raises(NotEnoughMemory):
        use.model.load()
    use.undo()

    assert (seen, new_session.in_use) == ([True, False], ())


def test_models_of_servers_are_never_made_to_leave(new_session: Session) -> None:
    model = scripted("served")
    object.__setattr__(model.info, "engine", "ollama")
    new_session.add(model)

    new_session.residency.limits = Limits(idle_seconds=0)

    assert model.absence == ""


def test_limits_end_with_the_session(new_session: Session) -> None:
    new_session.residency.limits = Limits(memory_bytes=1, idle_seconds=1e9)
    model = keep(new_session, "demo")
    new_session.close()

    assert (new_session.residency.limits, model.is_unloaded) == (Limits(), True)
    assert [thread for thread in threading.enumerate() if thread.name == "localllm-idle"] == []


def test_a_model_is_pinned_by_its_load_until_it_is_unloaded(clean_session: Session) -> None:
    model = api.load("demo", ctx=256, pin=True)
    clean_session.residency.limits = Limits(memory_bytes=1)
    pinned = (model.is_pinned, model.is_loaded)
    with pytest.raises(LocalLLMError):
        api.load("demo", ctx=512)
    after_failure = model.is_pinned
    clean_session.residency.limits = Limits()
    again = api.load("demo", ctx=512)
    clean_session.unload("demo")

    assert (pinned, after_failure, again is model, model.is_pinned) == ((True, True), True, True, True)
    assert not api.load("demo", ctx=256).is_pinned


def test_a_pinned_model_can_be_unloaded(clean_session: Session) -> None:
    api.load("demo", pin=True)

    assert (clean_session.unload("demo"), clean_session.models) == (["demo"], ())


def test_models_leave_in_a_forked_process_too(new_session: Session, folder: Path) -> None:
    new_session.residency.limits = Limits(memory_bytes=16 * MB, idle_seconds=1e9)
    loaded(new_session, "demo")

    def works() -> bool:
        loaded(new_session, "mine.gguf")
        return in_memory(new_session) == ["mine.gguf"]

    assert in_forked_process(works)


def test_idle_models_leave_in_a_forked_process_after_an_answer_there(new_session: Session) -> None:
    loaded(new_session, "demo")
    (model,) = new_session.models

    def works() -> bool:
        model.complete("Hello", max_tokens=2)
        wait_until(lambda: not model.is_loaded, "left")
        return True

    with model.activity.using():
        new_session.residency.limits = Limits(idle_seconds=0.05)

        assert in_forked_process(works)


def test_memory_comes_back_however_often_a_model_is_loaded(new_session: Session, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "random.gguf")
    held, most = [], 0
    for _ in range(8):
        use = new_session.use(str(path), LoadOptions(ctx=1024))
        use.model.complete("Hello", max_tokens=2)
        use.keep()
        most = max(most, private_memory())
        new_session.unload()
        held.append(private_memory())
        assert use.model.status().unreturned_bytes == 0

    assert most - min(held) > 25 * MB
    assert max(held[1:]) - held[0] < 4 * MB


def test_the_thread_of_a_load_ends_with_its_model(new_session: Session) -> None:
    loaded(new_session, "demo")
    kept = [thread for thread in threading.enumerate() if thread.name == "localllm-load-kept"]
    new_session.unload()
    for thread in kept:
        thread.join()

    assert len(kept) == 1
