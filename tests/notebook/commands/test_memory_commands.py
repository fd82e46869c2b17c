"""What `%llm load`, `status` and `unload` say of memory, with real models."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import demo
from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.table import Table
from localllm_magics.engines.base import EngineStatus
from localllm_magics.model import Model
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine

Displays = list[dict[str, object]]


class PlacedEngine(ScriptedEngine):
    """Is on the host and on a GPU, and does not give all of it back."""

    def status(self, *, refresh: bool = False) -> EngineStatus:
        on_gpu, left = (("CUDA0", 3_000_000_000),), 40_000_000
        status = super().status(refresh=refresh)
        return replace(status, memory_bytes=4_000_000_000, device_bytes=on_gpu, unreturned_bytes=left)


def table(shell: InteractiveShell, line: str) -> Table:
    result = shell.run_line_magic("llm", line)
    assert isinstance(result, Table)
    return result


@pytest.fixture
def other(shell: InteractiveShell) -> str:
    """A reference to another model."""
    shutil.copy(demo.PATH, Path("other.gguf"))
    return "other.gguf"


@pytest.fixture
def placed(shell: InteractiveShell) -> Model:
    model = Model(PlacedEngine(reference="placed"), ModelInfo(reference="placed", name="placed", source="bundled"))
    default_session().add(model)
    return model


def test_status_shows_what_is_being_loaded(shell: InteractiveShell) -> None:
    use = default_session().use("demo", LoadOptions())
    shown: list[Table] = []
    unsubscribe = default_session().subscribe(lambda: shown.append(table(shell, "status")))

    use.model.load()
    unsubscribe()
    use.keep()

    assert [(found.rows[0][:2], found.notes) for found in shown] == [
        (("demo (loading)", "not in memory yet"), ()),
        (("demo", "kernel on CPU"), ()),
    ]


def test_status_says_where_memory_is_and_for_how_long_it_is_idle(shell: InteractiveShell, placed: Model) -> None:
    with placed.activity.using():
        (during,) = table(shell, "status").rows
    (after,) = table(shell, "status").rows

    assert (during[2], during[5], after[5]) == ("1.0 GB + 3.0 GB on CUDA0", "in use", "0 s")


def test_a_model_is_pinned_until_it_is_unloaded(shell: InteractiveShell) -> None:
    shown = [table(shell, f"load demo --ctx 256{pin}").rows[0][0] for pin in (" --pin", "")]
    shell.run_line_magic("llm", "unload demo")
    shown.append(table(shell, "load demo --ctx 256").rows[0][0])

    assert shown == ["demo (current, pinned)", "demo (current, pinned)", "demo (current)"]


def test_a_cell_says_what_has_left_for_its_model(shell: InteractiveShell, other: str, displays: Displays) -> None:
    shell.run_cell("%config LocalLLM.memory_limit = '15 MB'")
    table(shell, "load demo")

    shell.run_line_magic("llm", f"ask -n 2 -m {other} Hello")
    answer, notes = str(displays[-1]["data"]), table(shell, "status").notes

    assert "Unloaded demo (10.8 MB), the least recently used, to make room." in answer
    assert notes == (
        "demo has left memory: room was made for other.gguf. It is loaded again when it is next asked.",
        "Limits: 10.8 MB of 15.0 MB are in use.",
    )
    assert [row[1] for row in table(shell, "status").rows] == ["not in memory", "kernel on CPU"]


def test_load_says_so_too(shell: InteractiveShell, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%config LocalLLM.memory_limit = '15 MB'")
    table(shell, "load demo")
    table(shell, f"load {other}")

    assert "Unloaded demo (10.8 MB), the least recently used, to make room.\n" in capsys.readouterr().out


def test_what_is_pinned_is_not_unloaded_for_another(shell: InteractiveShell, other: str) -> None:
    shell.run_cell("%config LocalLLM.memory_limit = '15 MB'")
    table(shell, "load demo --pin")

    with pytest.raises(NotEnoughMemory, match=r"of which 10\.8 MB are held by demo, pinned or in use"):
        table(shell, f"load {other}")
    forced = table(shell, f"load {other} --force")

    assert [row[1] for row in forced.rows] == ["kernel on CPU"] * 2


def test_a_limit_below_the_smallest_model_can_be_changed_as_the_error_says(shell: InteractiveShell) -> None:
    shell.run_cell("%config LocalLLM.memory_limit = '1 MB'")
    with pytest.raises(NotEnoughMemory, match=r"demo needs 10\.8 MB, and the memory limit is 1\.0 MB") as caught:
        table(shell, "load demo")

    shell.run_cell(caught.value.hint.partition(". ")[0].removeprefix("Type: "))

    assert table(shell, "load demo").rows[0][1] == "kernel on CPU"


def test_the_time_to_live_is_shown(shell: InteractiveShell) -> None:
    shell.run_cell("%config LocalLLM.idle_ttl = '30m'")

    assert table(shell, "status").notes[0] == "Limits: what nothing uses leaves after 30 min."


def test_unload_says_what_did_not_come_back(
    shell: InteractiveShell, placed: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_line_magic("llm", "unload placed")

    assert capsys.readouterr().out == (
        "Unloaded placed.\nOf its memory, 40.0 MB did not come back; a restart of the kernel frees it.\n"
    )
