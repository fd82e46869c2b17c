"""Commands and options, where the models are on servers."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics import unload_ipython_extension
from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import BadOption, DaemonNotReachable, ModelNotInDaemon
from localllm_magics.core.table import Table
from localllm_magics.notebook.config import LocalLLM
from localllm_magics.session import default_session
from localllm_magics.testing import ScriptedEngine
from tests.notebook.conftest import DEMO, found_in_time
from tests.server.faults import FaultServer, Hold, Steps
from tests.server.llama_server import LlamaServer
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.server_process import fetch, free_port
from tests.server.waiting import wait_until

Faulty = Callable[[Mapping[str, Steps]], FaultServer]


def command(shell: InteractiveShell, line: str) -> Table:
    found = shell.run_line_magic("llm", line)
    assert isinstance(found, Table)
    return found


def references(shell: InteractiveShell) -> list[str]:
    return [info.reference for info in shell.run_line_magic("llm", "models")]


def ask(shell: InteractiveShell, options: str, prompt: str = "What is a token?") -> Completion:
    shell.run_cell_magic("llm", f"{options} -n 3", prompt)
    found = shell.user_ns["_llm"]
    assert isinstance(found, Completion)
    return found


def loaded(server: OllamaStandIn) -> list[str]:
    return [model["name"] for model in fetch(server.port, "GET", "/api/ps").json["models"]]


def test_models_of_servers_stand_below_those_of_files(
    shell: InteractiveShell, config: LocalLLM, stand_in: OllamaStandIn, llama_server: LlamaServer
) -> None:
    config.daemons = [llama_server.address, stand_in.address]
    both = f"openai:demo@{llama_server.address}|ollama:demo@{stand_in.address}"

    listing = found_in_time(lambda: "|".join(references(shell)), both)

    assert listing.startswith("demo|")


def test_a_silent_server_is_named_below_the_models(shell: InteractiveShell, config: LocalLLM, faulty: Faulty) -> None:
    silent = [faulty({"*": [Hold()]}) for _ in range(3)]
    config.daemons = [server.address for server in silent]

    found = shell.run_line_magic("llm", "models")

    assert [info.reference for info in found] == ["demo"]
    assert [f"{server.address} did not answer within 0.5 seconds." in str(found) for server in silent] == [True] * 3


def test_a_server_that_does_not_run_is_named_below_the_models(shell: InteractiveShell, config: LocalLLM) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    config.daemons = [address]

    assert found_in_time(lambda: str(shell.run_line_magic("llm", "models")), f"Nothing listens at {address}.")


def test_status_shows_where_ollama_has_a_model_and_how_long(
    shell: InteractiveShell, config: LocalLLM, stand_in: OllamaStandIn
) -> None:
    config.keep_alive = "-1"
    stand_in.vram_share = 0.5
    reference = f"ollama:demo@{stand_in.address}"
    ask(shell, reference)

    shown = command(shell, "status")

    (row,) = shown.rows
    assert row[:3] == (f"{reference} (current)", "ollama on 50% CPU, 50% GPU", "13.8 MB")
    assert row[4] == "1,024"
    assert row[-1].endswith(" tok/s")
    (detail,) = shown.notes
    assert detail.startswith(f"{reference} is on the 50% CPU, 50% GPU")
    assert detail.endswith("until it is unloaded.")


def test_status_shows_when_ollama_has_let_a_model_go(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    reference = f"ollama:demo@{stand_in.address}"
    ask(shell, reference)
    fetch(stand_in.port, "POST", "/api/generate", {"model": "demo", "keep_alive": 0})
    wait_until(lambda: loaded(stand_in) == [], "unloaded")

    (detail,) = command(shell, "status").notes

    assert detail == f"{reference} is not in Ollama's memory now; it is loaded with the next question."


def test_status_shows_what_a_server_is(shell: InteractiveShell, llama_server: LlamaServer) -> None:
    reference = f"openai:demo@{llama_server.address}"
    ask(shell, reference)

    shown = command(shell, "status")

    assert shown.rows[0][:2] == (f"{reference} (current)", "openai")
    assert any("llama-server b" in note for note in shown.notes)


def test_load_brings_a_model_into_ollamas_memory_and_unload_out_of_it(
    shell: InteractiveShell, stand_in: OllamaStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"ollama:demo@{stand_in.address}"

    shown = command(shell, f"load {reference} --ctx 512")
    there = loaded(stand_in)
    shell.run_line_magic("llm", f"unload {reference}")
    wait_until(lambda: loaded(stand_in) == [], "unloaded")

    assert shown.rows[0][4] == "512"
    assert there == ["demo:latest"]
    assert capsys.readouterr().out == f"Unloaded {reference}.\n"


def test_unload_leaves_a_server_running(shell: InteractiveShell, llama_server: LlamaServer) -> None:
    ask(shell, f"openai:demo@{llama_server.address}")

    shell.run_line_magic("llm", "unload")

    assert default_session().models == ()
    assert fetch(llama_server.port, "GET", "/health").status == 200


def test_unloading_the_extension_leaves_ollamas_model(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    ask(shell, f"ollama:demo@{stand_in.address}")

    unload_ipython_extension(shell)

    assert (default_session().models, default_session().current) == ((), None)
    assert loaded(stand_in) == ["demo:latest"]


@pytest.fixture
def router(tmp_path: Path) -> Iterator[LlamaServer]:
    (tmp_path / "models").mkdir()
    for name in ("one", "two"):
        (tmp_path / "models" / f"{name}.gguf").symlink_to(DEMO)
    with LlamaServer(tmp_path / "models", "-c", "1024", "-np", "1", "-t", "1") as server:
        yield server


def test_a_router_loads_and_unloads_its_models(shell: InteractiveShell, router: LlamaServer) -> None:
    def statuses() -> dict[str, str]:
        models = fetch(router.port, "GET", "/v1/models").json["data"]
        return {model["id"]: model["status"]["value"] for model in models}

    found = shell.run_line_magic("llm", f"connect {router.address}")
    shown = command(shell, f"load openai:two@{router.address}")
    after_load = statuses()
    answer = ask(shell, "")
    shell.run_line_magic("llm", "unload")
    wait_until(lambda: statuses()["two"] == "unloaded", "two unloaded")

    assert {info.name for info in found} == {"one", "two"}
    assert "llama-server (router)" in str(found)
    assert any("(router)" in note for note in shown.notes)
    assert (after_load["one"], after_load["two"]) == ("unloaded", "loaded")
    assert answer.stats.completion_tokens == 3


def test_a_changed_option_loads_anew_on_ollama_and_says_so(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    reference = f"ollama:demo@{stand_in.address}"
    ask(shell, reference)

    changed = ask(shell, f"{reference} --ctx 512")
    kept = ask(shell, "")

    assert changed.notices == ("Reloaded with --ctx 512.",)
    assert (changed.model.context, kept.model.context) == (512, 512)
    assert kept.notices == (f"`--ctx 512`, as loaded before; `%llm load {reference}` goes back to the defaults.",)


def test_what_a_server_was_started_with_stays(shell: InteractiveShell, llama_server: LlamaServer) -> None:
    reference = f"openai:demo@{llama_server.address}"
    ask(shell, reference)

    with pytest.raises(BadOption, match="was started with load options") as caught:
        ask(shell, "--ctx 512")
    after = ask(shell, "")

    assert "--ctx" in caught.value.hint
    assert after.model.reference == reference
    assert after.stats.completion_tokens == 3


def test_a_server_that_does_not_answer_is_not_the_current_one(
    shell: InteractiveShell, llama_server: LlamaServer
) -> None:
    reference = f"openai:demo@{llama_server.address}"
    ask(shell, reference)

    with pytest.raises(DaemonNotReachable):
        ask(shell, f"openai:x@http://127.0.0.1:{free_port()}")

    assert ask(shell, "").model.reference == reference


@pytest.mark.parametrize("line", ["load {}", "ask -m {} Hello"])
def test_a_model_that_the_server_does_not_have_is_not(
    shell: InteractiveShell, stand_in: OllamaStandIn, line: str
) -> None:
    reference = f"ollama:nothing@{stand_in.address}"

    with pytest.raises(ModelNotInDaemon) as caught:
        shell.run_line_magic("llm", line.format(reference))

    assert f"%llm pull {reference}" in caught.value.hint
    assert (default_session().current, default_session().models) == (None, ())


@pytest.mark.parametrize(
    ("options", "think"),
    [
        pytest.param("", None, id="the model decides"),
        pytest.param("--think", True, id="on"),
        pytest.param("--no-think", False, id="off"),
    ],
)
def test_reasoning_can_be_asked_for(
    shell: InteractiveShell, engine: ScriptedEngine, options: str, think: bool | None
) -> None:
    shell.run_cell_magic("llm", options, "Hello")
    shell.run_line_magic("llm", f"ask {options} Hello")

    assert [request.think for request in engine.requests] == [think, think]


def test_reasoning_cannot_be_both(shell: InteractiveShell) -> None:
    with pytest.raises(BadOption, match="--think cannot be used with --no-think"):
        shell.run_cell_magic("llm", "--think --no-think", "Hello")


def test_a_model_that_cannot_reason_says_so(shell: InteractiveShell, stand_in: OllamaStandIn) -> None:
    with pytest.raises(BadOption, match="think") as caught:
        ask(shell, f"ollama:demo@{stand_in.address} --think")

    assert "--think" in caught.value.hint


def test_no_raise_keeps_the_cell_from_failing(shell: InteractiveShell) -> None:
    address = f"http://127.0.0.1:{free_port()}"

    failed = ask(shell, f"openai:x@{address} --no-raise")

    assert failed.error is not None
    assert (failed.state, failed.error.kind) == ("failed", "daemon_not_reachable")
    assert failed.error.hint.startswith("Start the server")


def test_a_dry_run_shows_what_would_be_sent(
    shell: InteractiveShell, llama_server: LlamaServer, displays: list[dict[str, object]]
) -> None:
    shell.run_cell_magic("llm", f"openai:demo@{llama_server.address} --dry-run --seed 5", "What is a token?")

    shown = str(displays[-1]["data"]["text/plain"])  # type: ignore[index] # a bundle
    assert "What is a token?" in shown
    assert '"seed": 5' in shown
    assert "Nothing was generated." in shown
    assert llama_server.busy_slots == 0
