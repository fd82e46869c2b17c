import gc
import weakref
from collections.abc import Iterator

import pytest
from comm import get_comm_manager

import localllm_magics
from localllm_magics import demo
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.session import Session
from localllm_magics.testing import scripted_model
from localllm_magics.widgets.control import TARGET
from localllm_magics.widgets.picker import ModelPicker
from tests.server.waiting import wait_until
from tests.widgets.engines import Hanging, model_of
from tests.widgets.pages import OPTIONS, ScriptedFacts

DEMO = ModelInfo(reference="demo", name="demo", source="bundled", path=demo.PATH)
SLOW = ModelInfo(reference="slow", name="<script>slow</script>", source="bundled")


@pytest.fixture
def picker(new_session: Session) -> Iterator[ModelPicker]:
    made = ModelPicker(new_session, facts=ScriptedFacts(DEMO, SLOW))
    wait_until(lambda: made.get_state("_models")["_models"] != [], "the list")
    yield made
    made.close()


def test_it_is_public() -> None:
    assert localllm_magics.ModelPicker is ModelPicker
    with pytest.raises(AttributeError, match="no attribute 'ModelTicker'"):
        _ = localllm_magics.ModelTicker  # type: ignore[attr-defined]  # there is none


def test_its_page_has_the_models_and_the_status(picker: ModelPicker) -> None:
    state = picker.get_state()

    assert [row["reference"] for row in state["_models"]] == ["demo", "slow"]
    assert state["_status"]["current"] is None
    assert "class Picker" in state["_esm"]
    assert ".llm-picker" in state["_css"]


def test_it_says_what_is_chosen(picker: ModelPicker) -> None:
    nothing = repr(picker)
    picker.value = "demo"

    assert nothing == "<ModelPicker nothing chosen, 2 models>"
    assert repr(picker) == "<ModelPicker demo, 2 models>"


def test_the_model_is_there_once_what_is_chosen_is_loaded(new_session: Session, picker: ModelPicker) -> None:
    seen: list[object] = []
    picker.observe(lambda change: seen.append(change["new"]), "model")
    picker.value = "slow"
    model = model_of(Hanging(reference="slow"))
    new_session.add(model)
    picker.value = "demo"

    assert seen == [model, None]


def test_the_current_model_is_chosen_at_first(new_session: Session) -> None:
    new_session.add(model_of(Hanging(reference="slow")))

    picker = ModelPicker(new_session, facts=ScriptedFacts(DEMO, SLOW))

    assert picker.value == "slow"
    wait_until(lambda: picker.model is new_session.current, "the model")
    picker.close()


def test_a_load_from_the_page_gives_the_model(new_session: Session, picker: ModelPicker) -> None:
    message = {"kind": "load", "id": "1", "reference": "demo", "options": OPTIONS, "force": False}
    picker.comm.handle_msg({"content": {"data": {"method": "custom", "content": message}}, "buffers": []})

    wait_until(lambda: picker.model is not None, "the load")
    assert picker.model is new_session.current
    assert picker.value == "demo"
    assert picker.get_state("_status")["_status"]["loaded"][0]["reference"] == "demo"


def test_what_has_no_widgets_shows_a_table(picker: ModelPicker) -> None:
    data, _metadata = picker._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in data
    assert "demo" in data["text/plain"]
    assert "| demo |" in data["text/markdown"]
    assert ">demo</td>" in data["text/html"]
    assert "<script>" not in data["text/markdown"] + data["text/html"]


def test_a_closed_picker_shows_the_table_and_how_to_get_another(
    picker: ModelPicker, capsys: pytest.CaptureFixture[str]
) -> None:
    picker.close()

    picker._ipython_display_()

    shown = capsys.readouterr().out
    assert "llm.ModelPicker()" in shown
    assert "demo" in shown


def test_one_model_is_counted_as_one(new_session: Session) -> None:
    picker = ModelPicker(new_session, facts=ScriptedFacts(DEMO))
    wait_until(lambda: picker.get_state("_models")["_models"] != [], "the list")
    assert repr(picker) == "<ModelPicker nothing chosen, 1 model>"
    picker.close()


def test_commands_that_come_on_a_comm_reach_the_picker_they_are_for(new_session: Session) -> None:
    facts = ScriptedFacts(DEMO)
    picker, manager = ModelPicker(new_session, facts=facts), get_comm_manager()
    try:
        address = picker.get_state("_address")["_address"]
        manager.comm_open(None, None, {"content": {"comm_id": "c", "target_name": TARGET, "data": {}}})  # type: ignore[arg-type]  # neither is used
        for to in ("another", address):
            data = {"to": to, "command": {"kind": "rescan", "id": to}}
            manager.comm_msg(None, None, {"content": {"comm_id": "c", "data": "nonsense"}})  # type: ignore[arg-type]  # same
            manager.comm_msg(None, None, {"content": {"comm_id": "c", "data": data}})  # type: ignore[arg-type]  # same
        wait_until(lambda: facts.scans == 2, "the second scan")
    finally:
        picker.close()


def test_without_a_session_it_has_that_of_the_cells() -> None:
    picker = ModelPicker(facts=ScriptedFacts(DEMO))
    try:
        with scripted_model("Hello!") as model:
            picker.value = model.info.reference
            assert picker.model is model
    finally:
        picker.close()


def test_a_closed_picker_is_forgotten(new_session: Session) -> None:
    picker = ModelPicker(new_session, facts=ScriptedFacts(DEMO))
    seen = weakref.ref(picker)
    picker.close()
    del picker

    def is_gone() -> bool:
        gc.collect()
        return seen() is None

    wait_until(is_gone, "the end of the picker")
