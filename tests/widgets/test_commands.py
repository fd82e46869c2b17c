import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.memory_plan import Forecast
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.stop import Stopped
from localllm_magics.session import Session
from localllm_magics.widgets.commands import Commands
from localllm_magics.widgets.facts import Facts
from tests.kernel.endless_model import write_endless_model
from tests.widgets.engines import Hanging, TooBig, model_of
from tests.widgets.pages import OPTIONS, FakePage, ScriptedFacts, do

DEMO = ModelInfo(reference="demo", name="demo", source="bundled", path=demo.PATH)
SHAPED = replace(DEMO, shape=ModelShape(architecture="llama", kinds=(), order=(), width=1))
SLOW = ModelInfo(reference="slow", name="slow", source="bundled")
BIG = ModelInfo(reference="big", name="big", source="bundled")


@contextmanager
def commanding(session: Session, facts: Facts) -> Iterator[tuple[Commands, FakePage]]:
    """Commands that have listed the models, and their page."""
    page = FakePage()
    commands = Commands(session, facts, page)
    commands.begin().result()
    yield commands, page
    commands.close()


@pytest.fixture
def scripted(new_session: Session) -> Iterator[tuple[Commands, FakePage]]:
    with commanding(new_session, ScriptedFacts(DEMO, SLOW, BIG)) as both:
        yield both


def references(page: FakePage) -> list[str]:
    return [info.reference for info in page.models[-1]]


def test_models_are_listed_and_those_that_come_later_by_a_rescan(new_session: Session, folder: Path) -> None:
    with commanding(new_session, RealList(new_session)) as (commands, page):
        before = references(page)
        shutil.copy(demo.PATH, folder / "later.gguf")
        ended = do(commands, page, kind="rescan")

    assert set(before) == {"demo", "mine.gguf"}
    assert set(references(page)) == {"demo", "mine.gguf", "later.gguf"}
    assert ended["kind"] == "done"
    assert page.statuses[0]["activity"] == "Looking for models …"
    assert page.statuses[-1]["activity"] == ""


def test_a_load_makes_the_model_the_current_one(new_session: Session, scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    ended = do(commands, page, kind="load", reference="demo", options={**OPTIONS, "context": 512}, force=False)

    assert (ended["kind"], page.chosen) == ("done", "demo")
    assert new_session.current is not None
    assert (new_session.current.info.reference, new_session.current.context) == ("demo", 512)
    assert page.statuses[-1]["current"] == "demo"
    assert page.statuses[-1]["loaded"][0]["context"] == 512
    assert page.statuses[-1]["loaded"][0]["options"] == {**OPTIONS, "context": 512}
    assert page.statuses[-1]["loading"] is None


def test_an_unload_gives_it_back(new_session: Session, scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    do(commands, page, kind="load", reference="demo", options=OPTIONS, force=False)
    ended = do(commands, page, kind="unload", reference="demo")
    again = do(commands, page, kind="unload", reference="demo")

    assert ended["notices"] == ["Unloaded demo."]
    assert again["message"] == "demo is not loaded."
    assert new_session.models == ()
    assert page.statuses[-1]["loaded"] == []


def test_a_load_can_be_cancelled(new_session: Session, scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    new_session.add(model_of(Hanging(reference="slow")))
    commands.receive({"kind": "load", "id": "1", "reference": "slow", "options": OPTIONS, "force": False})
    page.wait(lambda: page.statuses[-1]["loading"] == {"id": "1", "reference": "slow", "fraction": 0.5})
    other = do(commands, page, kind="load", reference="demo", options=OPTIONS, force=False)
    cancelled = do(commands, page, kind="cancel", target="1")

    assert other["message"] == "slow is being loaded."
    assert cancelled["kind"] == "done"
    assert page.end("1")["kind"] == "cancelled"
    assert page.statuses[-1]["loading"] is None


def test_a_load_that_is_refused_can_be_forced(new_session: Session, scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    new_session.add(model_of(TooBig(reference="big")))
    refused = do(commands, page, kind="load", reference="big", options=OPTIONS, force=False)
    forced = do(commands, page, kind="load", reference="big", options=OPTIONS, force=True)

    assert (refused["message"], refused["hint"], refused["can_force"]) == (
        "big needs 40 GB.",
        "Try 512 tokens of context.",
        True,
    )
    assert forced["kind"] == "done"


def test_a_model_that_is_gone_is_said_to_be_and_the_list_is_new(new_session: Session, folder: Path) -> None:
    with commanding(new_session, RealList(new_session)) as (commands, page):
        (folder / "mine.gguf").unlink()
        ended = do(commands, page, kind="load", reference="mine.gguf", options=OPTIONS, force=False)

    assert ended["message"] == "mine.gguf is gone since it was listed."
    assert references(page) == ["demo"]


def test_a_model_that_was_replaced_is_listed_anew_and_loaded(new_session: Session, folder: Path) -> None:
    with commanding(new_session, RealList(new_session)) as (commands, page):
        (folder / "mine.gguf").unlink()
        write_endless_model(folder / "mine.gguf")
        ended = do(commands, page, kind="load", reference="mine.gguf", options=OPTIONS, force=False)

    assert ended["kind"] == "done"
    assert len(page.models) == 2


def test_a_listed_file_is_loaded_from_another_folder_too(
    new_session: Session, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with commanding(new_session, RealList(new_session)) as (commands, page):
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        ended = do(commands, page, kind="load", reference="mine.gguf", options=OPTIONS, force=False)

    assert ended["kind"] == "done"
    assert new_session.current is not None
    assert new_session.current.path == folder / "mine.gguf"


def test_a_plan_has_a_row_for_each_device_and_a_forecast(scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    ended = do(
        commands, page, kind="plan", reference="demo", options=[OPTIONS, {**OPTIONS, "context": 99}], exact=False
    )

    assert [plan["settings"]["context"] for plan in ended["plans"]] == [4096, 99]
    assert ended["plans"][0]["uses"][0]["device"] == "CPU"
    assert ended["plans"][0]["speed"] == 10.0
    assert page.statuses[-1]["devices"] == ["CUDA0"]


def test_a_plan_can_be_cancelled(scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    commands.receive({"kind": "plan", "id": "1", "reference": "demo", "options": [OPTIONS], "exact": True})
    do(commands, page, kind="cancel", target="1")

    assert page.end("1")["kind"] == "cancelled"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param({"kind": "erase", "id": "9"}, "no command that is known", id="unknown"),
        pytest.param(
            {"kind": "load", "id": "9", "reference": "demo", "options": {**OPTIONS, "context": 0}, "force": False},
            "1 or more",
            id="a bad value",
        ),
        pytest.param({"kind": "unload", "id": "9", "reference": "other"}, "not loaded", id="not loaded"),
        pytest.param(
            {"kind": "plan", "id": "9", "reference": "gone", "options": [OPTIONS], "exact": False}, "is gone", id="gone"
        ),
    ],
)
def test_what_cannot_be_done_is_answered(
    scripted: tuple[Commands, FakePage], message: dict[str, object], said: str
) -> None:
    commands, page = scripted
    commands.receive(message)

    assert said in page.end("9")["message"]


def test_a_message_that_is_nothing_at_all_ends_nothing(scripted: tuple[Commands, FakePage]) -> None:
    commands, page = scripted
    commands.receive(None)

    assert do(commands, page, kind="rescan")["kind"] == "done"


def test_the_machine_is_measured_for_forecasts_and_the_list_is_made_anew(new_session: Session) -> None:
    with commanding(new_session, ScriptedFacts(SHAPED)) as (_commands, page):
        page.wait(lambda: len(page.models) == 2)

    assert "Measuring the speed of this machine, once … 50%" in [status["activity"] for status in page.statuses]


def test_a_rescan_while_the_machine_is_measured_does_not_hide_that(new_session: Session) -> None:
    facts = ScriptedFacts(SHAPED)
    facts.measures.clear()
    with commanding(new_session, facts) as (commands, page):
        page.wait(lambda: "50%" in page.statuses[-1]["activity"])
        do(commands, page, kind="rescan")
        during = page.statuses[-1]["activity"]
        facts.measures.set()
        end_threads()

    assert during == "Measuring the speed of this machine, once … 50%"
    assert page.statuses[-1]["activity"] == ""


def test_where_all_forecasts_are_known_nothing_is_measured(new_session: Session) -> None:
    known = replace(SHAPED, forecast=Forecast(tokens_per_second=1.0, prompt_tokens_per_second=1.0))
    with commanding(new_session, ScriptedFacts(known, DEMO)) as (_commands, page):
        end_threads()

    assert "Measuring" not in str(page.statuses)


@pytest.mark.parametrize(
    ("error", "note"),
    [
        pytest.param(LocalLLMError("It failed.", "Try again."), "It failed. Try again.", id="failed"),
        pytest.param(Stopped(), "", id="stopped"),
    ],
)
def test_a_machine_that_cannot_be_measured_is_said_to_be(new_session: Session, error: Exception, note: str) -> None:
    facts = ScriptedFacts(SHAPED)
    facts.measured = error
    with commanding(new_session, facts) as (_commands, page):
        end_threads()

    assert page.statuses[-1]["note"] == note
    assert len(page.models) == 1


def test_models_that_cannot_be_listed_are_said_to_be(new_session: Session) -> None:
    class Broken(ScriptedFacts):
        def models(self) -> ModelList:
            raise LocalLLMError("No folder can be read.", "Try again.")

    with commanding(new_session, Broken()) as (_commands, page):
        assert page.statuses[-1]["note"] == "No folder can be read. Try again."


def test_after_the_end_nothing_is_shown(new_session: Session) -> None:
    with commanding(new_session, ScriptedFacts(DEMO)) as (_commands, page):
        end_threads()
    shown = len(page.statuses)
    new_session.add(model_of(Hanging(reference="slow")))

    assert len(page.statuses) == shown


def end_threads() -> None:
    """Wait until what runs beside the commands has ended."""
    for thread in [thread for thread in threading.enumerate() if thread.name == "localllm-picker"]:
        thread.join()


class RealList(ScriptedFacts):
    """The real list of a session."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.measured = Stopped()

    def models(self) -> ModelList:
        return self._session.list_models()
