import pytest

from localllm_magics.core.errors import LocalLLMError, NotEnoughMemory
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.widgets.jobs import Jobs, Work, done
from localllm_magics.widgets.protocol import Done
from tests.widgets.pages import FakePage


def raising(error: Exception) -> Work:
    def work(_stop: Stop) -> Done:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        pytest.param(lambda _: done("1"), "done", id="an end"),
        pytest.param(raising(LocalLLMError("No.")), "failed", id="an error of ours"),
        pytest.param(raising(KeyError("x")), "failed", id="an error of any kind"),
        pytest.param(raising(Stopped()), "cancelled", id="a stop"),
    ],
)
def test_a_command_is_accepted_and_ended_once(work: Work, kind: str) -> None:
    page = FakePage()
    Jobs(page.answer).start("1", work)

    assert page.end("1")["kind"] == kind
    assert [answer["kind"] for answer in page.answers] == ["accepted", kind]


def test_a_command_that_came_twice_is_done_once() -> None:
    page, let = FakePage(), Stop()
    jobs = Jobs(page.answer)

    def work(_stop: Stop) -> Done:
        let.wait(60)
        return done("1")

    jobs.start("1", work)
    jobs.start("1", work)
    let.set()

    assert page.end("1")["kind"] == "done"
    assert len(page.answers) == 2


@pytest.mark.parametrize("ends", ["cancel", "close"])
def test_what_fails_because_it_was_cancelled_is_cancelled(ends: str) -> None:
    page = FakePage()
    jobs = Jobs(page.answer)

    def work(stop: Stop) -> Done:
        stop.wait(60)
        raise LocalLLMError("The load was stopped.")

    jobs.start("1", work)
    if ends == "cancel":
        jobs.cancel("1")
        jobs.cancel("2")
    else:
        jobs.close()

    assert page.end("1")["kind"] == "cancelled"


def test_only_memory_that_is_missing_can_be_forced() -> None:
    page = FakePage()
    jobs = Jobs(page.answer)
    jobs.start("1", raising(NotEnoughMemory("Too big.")))
    jobs.start("2", raising(LocalLLMError("Broken.")))

    assert (page.end("1")["can_force"], page.end("2")["can_force"]) == (True, False)
