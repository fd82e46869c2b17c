"""The doctor names what is installed and how to mend what is missing."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.version import __version__
from localllm_magics.engines.cache_folder import cache_folder
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.weights_cache import default_folder
from localllm_magics.engines.llamafile.pool import default_logs
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.checkup import checkup
from localllm_magics.notebook.config import LocalLLM
from tests.catalog.speeds import speed
from tests.notebook.conftest import DEMO, found_in_time
from tests.server.faults import FaultServer, Hold, Steps
from tests.server.llama_server import LlamaServer
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.server_process import free_port

WITHOUT_ENGINE = """
import sys
sys.modules["llama_cpp"] = None
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.checkup import checkup
print(checkup(ServerSettings()))
"""


def rows_of(settings: ServerSettings) -> Mapping[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in checkup(settings).rows}


def test_it_names_every_part() -> None:
    rows = rows_of(ServerSettings())

    assert rows["localllm-magics"] == (__version__, "")
    assert sys.executable in rows["Python"][0]
    assert rows["Kernel engine"][0].startswith("llama-cpp-python ")
    assert rows["CPU features"][0]
    assert rows["Memory"][0].endswith(" free")


def test_what_is_wrong_has_a_way_out() -> None:
    rows = rows_of(ServerSettings())

    assert "Build" not in rows or rows["Build"][1].startswith("`CMAKE_ARGS=")
    assert "GPU" not in rows or "`pip install" in rows["GPU"][1] or "`CMAKE_ARGS=" in rows["GPU"][1]


def test_it_says_whether_the_speed_of_the_machine_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert rows_of(ServerSettings())["Forecast"] == ("not measured", "`%llm models --forecast`")


@pytest.mark.parametrize(
    ("noise", "command"),
    [
        pytest.param(1.0, "`%llm doctor --clean`, then `%llm models --forecast`", id="it has to be forgotten first"),
        pytest.param(2.0, "`%llm models --forecast`", id="it is measured again anyway"),
    ],
)
def test_it_says_how_to_measure_the_machine_again(
    noise: float, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    SpeedStore().put(speed_key(library()), replace(speed("Q8_0"), noise=noise))

    assert rows_of(ServerSettings())["Forecast"][1] == command


def test_it_says_whose_threads_the_build_uses() -> None:
    rows = rows_of(ServerSettings())

    uses_openmp = "OPENMP = 1" in library().system_info
    assert rows["Threads"] == ("OpenMP's" if uses_openmp else "llama.cpp's own, without OpenMP", "")


def test_without_the_engine_it_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_ENGINE], capture_output=True, text=True, check=True)

    (row,) = (line for line in done.stdout.splitlines() if line.startswith("Kernel engine"))
    assert "not installed" in row
    assert "pip install" in row


def test_servers_that_run_are_named_with_what_they_have(llama_server: LlamaServer, stand_in: OllamaStandIn) -> None:
    stand_in.store("other", DEMO)
    settings = ServerSettings(addresses=(llama_server.address, stand_in.address))
    rows = {
        **found_in_time(lambda: rows_of(settings), f"openai:demo@{llama_server.address}"),
        f"Ollama 0.33.0 at 127.0.0.1:{stand_in.port}": found_in_time(
            lambda: rows_of(settings).get(f"Ollama 0.33.0 at 127.0.0.1:{stand_in.port}"), "ollama:demo"
        ),
    }

    (ours,) = (name for name in rows if name.endswith(f"at 127.0.0.1:{llama_server.port}"))
    assert re.fullmatch(r"llama-server b\S+ at .*", ours)
    assert rows[ours] == (f"runs; openai:demo@{llama_server.address}", "")
    assert rows[f"Ollama 0.33.0 at 127.0.0.1:{stand_in.port}"] == (
        f"runs; ollama:other@{stand_in.address}, ollama:demo@{stand_in.address}",
        "",
    )


def test_only_some_models_of_a_server_are_named(stand_in: OllamaStandIn) -> None:
    for name in ("a", "b", "c"):
        stand_in.store(name, DEMO)

    rows = found_in_time(lambda: rows_of(ServerSettings(addresses=(stand_in.address,))), "ollama:b")

    found, _ = rows[f"Ollama 0.33.0 at 127.0.0.1:{stand_in.port}"]
    assert (found.count("ollama:"), found[-3:]) == (3, ", …")


def test_what_does_not_run_comes_with_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:11434")

    settings = ServerSettings(addresses=(f"http://127.0.0.1:{port}",))
    rows = found_in_time(lambda: rows_of(settings), f"Nothing listens at http://127.0.0.1:{port}.")

    problem, mend = rows[f"server at 127.0.0.1:{port}"]
    assert problem == f"Nothing listens at http://127.0.0.1:{port}."
    assert mend == f"Start the server, for example: `llama-server -m model.gguf --port {port}`"
    ollama = next(rows[name] for name in rows if name.startswith("Ollama"))
    assert ollama[0].startswith("runs") or ollama[1].endswith("ollama serve`")


@pytest.mark.parametrize(
    ("port", "command"),
    [(1234, "lms server start --port 1234"), (8000, "python -m llama_cpp.server --model model.gguf --port 8000")],
)
def test_each_kind_of_server_is_started_in_its_own_way(port: int, command: str) -> None:
    rows = rows_of(ServerSettings())

    problems = [row[2] for name, row in ((name, (name, *row)) for name, row in rows.items()) if f":{port}" in name]
    assert problems == [""] or problems[0].endswith(f": `{command}`")


def test_a_silent_server_is_a_row(faulty: Callable[[Mapping[str, Steps]], FaultServer]) -> None:
    server = faulty({"*": [Hold()]})

    rows = rows_of(ServerSettings(addresses=(server.address,)))

    assert rows[f"server at 127.0.0.1:{server.port}"][0] == f"{server.address} did not answer within 0.5 seconds."


def test_what_is_stored_is_listed_and_can_be_removed(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    weights, log = default_folder() / "x-0123456789abcdef.gguf", default_logs() / "x.log"
    results = cache_folder() / "probes.json"
    for file, size in ((weights, 3000), (log, 20)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))

    before = rows_of(ServerSettings())
    probed = results.stat().st_size
    cleaned = shell.run_line_magic("llm", "doctor --clean")
    again = shell.run_line_magic("llm", "doctor --clean")

    assert before["Weights of llamafiles"] == (f"3.0 kB in {default_folder()}", "`%llm doctor --clean`")
    assert cleaned.rows == (
        ("Weights of llamafiles", "3.0 kB"),
        ("Logs of llamafiles", "20 B"),
        ("Results of probes", f"{probed} B"),
        ("Speed of this machine", "0 B"),
    )
    assert [row[1] for row in again.rows] == ["0 B"] * 4
    assert not any(file.exists() for file in (weights, log, results))
    assert "Weights of llamafiles" not in rows_of(ServerSettings())


def test_the_doctor_asks_the_servers_of_the_settings(
    shell: InteractiveShell, config: LocalLLM, stand_in: OllamaStandIn
) -> None:
    config.daemons = [stand_in.address]

    assert found_in_time(lambda: shell.run_line_magic("llm", "doctor"), f"runs; ollama:demo@{stand_in.address}")
