"""`%llm pull` has Ollama get a model, and shows how far it is."""

import json
from collections.abc import Callable, Mapping
from itertools import count

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.errors import BadOption, DaemonNotReachable, LocalLLMError, ModelNotInDaemon, StreamBroken
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.commands.pull import pull_model
from tests.server.faults import Close, FaultServer, Send, Steps
from tests.server.http_bytes import LAST_CHUNK, chunk, chunked_head
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.server_process import free_port

Displays = list[dict[str, object]]
Faulty = Callable[[Mapping[str, Steps]], FaultServer]
HEAD = Send(chunked_head("application/x-ndjson"))


def record(**fields: object) -> Send:
    return Send(chunk(json.dumps(fields).encode() + b"\n"))


def lines(displays: Displays) -> list[str]:
    return [str(display["data"]["text/plain"]) for display in displays]  # type: ignore[index] # a bundle


def test_the_model_is_there_afterwards(
    shell: InteractiveShell, stand_in: OllamaStandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"ollama:tiny@{stand_in.address}"

    shell.run_line_magic("llm", f"pull {reference}")
    found = shell.run_line_magic("llm", f"connect {stand_in.address}")

    assert capsys.readouterr().out == f"To use it, type: %%llm {reference}\n"
    assert reference in [info.reference for info in found]


def test_one_line_shows_how_far_it_is(bare_shell: InteractiveShell, displays: Displays, faulty: Faulty) -> None:
    first = {"status": "pulling a1", "digest": "sha256:a1", "total": 3_000_000}
    server = faulty(
        {
            "/api/pull": [
                HEAD,
                record(status="pulling manifest"),
                record(**first, completed=1_500_000),
                record(status="success"),
                Send(LAST_CHUNK),
            ]
        }
    )
    reference = f"ollama:x@{server.address}"

    sentence = pull_model(reference, ServerSettings(), Display(bare_shell, clock=count(step=60).__next__))

    assert lines(displays)[:2] == [
        f"{reference} · pulling manifest",
        f"{reference} · pulling a1 {'█' * 15}{'░' * 15} 50% · 1.5 MB of 3.0 MB",
    ]
    assert lines(displays)[-1] == f"{reference} · pulled"
    assert [display["update"] for display in displays] == [False] + [True] * (len(displays) - 1)
    assert sentence == f"To use it, type: %%llm {reference}"


def test_a_name_that_nobody_has_fails(
    bare_shell: InteractiveShell, displays: Displays, stand_in: OllamaStandIn
) -> None:
    reference = f"ollama:nowhere@{stand_in.address}"

    with pytest.raises(ModelNotInDaemon, match="nowhere") as caught:
        pull_model(reference, ServerSettings(), Display(bare_shell))

    assert caught.value.hint
    assert lines(displays)[-1] == f"{reference} · failed"


def test_a_pull_that_breaks_off_says_that_it_can_go_on(
    bare_shell: InteractiveShell, displays: Displays, faulty: Faulty
) -> None:
    server = faulty({"/api/pull": [HEAD, record(status="pulling manifest"), Close()]})
    reference = f"ollama:x@{server.address}"

    with pytest.raises(StreamBroken) as caught:
        pull_model(reference, ServerSettings(), Display(bare_shell))

    assert f"%llm pull {reference}" in caught.value.hint
    assert lines(displays) == [f"{reference} · pulling manifest", f"{reference} · failed"]


def test_what_the_server_says_cannot_leave_its_line(
    bare_shell: InteractiveShell, displays: Displays, faulty: Faulty
) -> None:
    hostile = record(status="a\x1b[2J\n\r" + "b" * 10_000, digest="sha256:a", total=-5, completed=10**30)
    server = faulty({"/api/pull": [HEAD, hostile, record(status="success"), Send(LAST_CHUNK)]})

    pull_model(f"ollama:x@{server.address}", ServerSettings(), Display(bare_shell))

    assert all(line.isprintable() and len(line) < 300 for line in lines(displays))


def test_without_a_shell_nothing_is_shown(displays: Displays, stand_in: OllamaStandIn) -> None:
    pull_model(f"ollama:tiny@{stand_in.address}", ServerSettings(), Display(None))

    assert displays == []


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        pytest.param("pull", "needs a model", "%llm pull ollama:llama3.2", id="none"),
        pytest.param("pull llama3.2", "is no model of Ollama", "%llm pull ollama:llama3.2", id="no scheme"),
        pytest.param("pull openai:x@http://127.0.0.1:9", "is no model of Ollama", "%llm pull ollama:", id="another"),
        pytest.param("pull demo", "is no model of Ollama", "To use it, type: %%llm demo", id="what is here"),
        pytest.param("pull ./no.gguf", "is no model of Ollama", "for example: %llm pull ollama:", id="a missing file"),
        pytest.param("pull ollama:", "names no model", "%llm connect", id="no name"),
    ],
)
def test_what_ollama_cannot_pull_is_refused(shell: InteractiveShell, line: str, message: str, hint: str) -> None:
    with pytest.raises(BadOption, match=message) as caught:
        shell.run_line_magic("llm", line)

    assert hint in caught.value.hint


def test_without_a_server_it_says_how_to_start_one(shell: InteractiveShell) -> None:
    with pytest.raises(DaemonNotReachable) as caught:
        shell.run_line_magic("llm", f"pull ollama:x@http://127.0.0.1:{free_port()}")

    error: LocalLLMError = caught.value
    assert error.hint
