import pytest

from localllm_magics.core.errors import UsageError
from localllm_magics.core.stop import Stop
from localllm_magics.engines.lifetime import Lifetime


def test_the_end_stops_what_runs_and_nothing_else() -> None:
    lifetime, before, running = Lifetime("m"), Stop(), Stop()
    with lifetime.using(before):
        pass

    with lifetime.using(running):
        lifetime.end()

        assert (before.is_set(), running.is_set()) == (False, True)


def test_nothing_begins_after_the_end() -> None:
    lifetime = Lifetime("ollama:m")
    lifetime.end()
    lifetime.end()

    with pytest.raises(UsageError, match=r"ollama:m was unloaded\.\nType: %llm load ollama:m"), lifetime.using(Stop()):
        pytest.fail("it began")


def test_an_end_in_the_middle_can_be_noticed() -> None:
    lifetime = Lifetime("m")

    with lifetime.using(Stop()):
        lifetime.check()
        lifetime.end()

        with pytest.raises(UsageError, match="m was unloaded"):
            lifetime.check()


def test_what_runs_in_the_process_that_was_forked_is_not_stopped_by_the_new_one() -> None:
    lifetime, running = Lifetime("m"), Stop()

    with lifetime.using(running):
        lifetime.after_fork()
        lifetime.end()

    assert not running.is_set()
