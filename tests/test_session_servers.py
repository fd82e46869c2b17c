"""What the session does with models of servers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.core.errors import (
    BadOption,
    DaemonBusy,
    DaemonNotReachable,
    LocalLLMError,
    ModelNotInDaemon,
    PromptTooLong,
)
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model
from localllm_magics.session import Session
from localllm_magics.testing import ScriptedEngine
from tests.server.faults import FaultServer, Send
from tests.server.http_bytes import http_response
from tests.server.waiting import wait_until

ANY = LoadOptions()
ADDRESS = "http://127.0.0.1:9"
TAGS = b'{"models": [{"name": "tiny:latest", "size": 3000000, "details": {"family": "llama"}}]}'


def served(reference: str, *answers: str) -> Model:
    """A model of a server, as far as the session can tell."""
    engine = ScriptedEngine(*answers, reference=reference)
    info = ModelInfo(reference=reference, name="x", source="daemon", engine="ollama", address=ADDRESS)
    return Model(engine, info)


@pytest.mark.parametrize(
    "reference", ["ollama:x", f"ollama:x@{ADDRESS}", f"openai:x@{ADDRESS}", f"openai:x@{ADDRESS}/v1", ADDRESS]
)
def test_a_model_of_a_server_is_used_without_asking_whether_it_is_there(new_session: Session, reference: str) -> None:
    model = new_session.use(reference, ANY)

    assert (model.info.reference, model.info.address) == (reference, ADDRESS)
    assert new_session.use(reference, ANY) is model


def test_a_model_of_a_server_that_was_started_by_others_takes_no_load_options(new_session: Session) -> None:
    reference = f"openai:x@{ADDRESS}"
    model = new_session.use(reference, ANY)

    with pytest.raises(BadOption, match="was started with its own context"):
        new_session.use(reference, LoadOptions(ctx=512))

    assert new_session.use(None, ANY) is model
    assert not model.is_unloaded


@pytest.fixture
def ollama() -> Iterator[FaultServer]:
    answers = {
        "/api/version": b'{"version": "0.33.0"}',
        "/": b"Ollama is running",
        "/api/tags": TAGS,
    }
    script = {
        path: [Send(http_response(200, {"Content-Type": "application/json"}, body))] for path, body in answers.items()
    }
    with FaultServer(script) as server:
        yield server


def test_models_of_servers_are_listed_and_found_by_name(
    new_session: Session, folder: Path, ollama: FaultServer
) -> None:
    reference = f"ollama:tiny@{ollama.address}"
    new_session.settings = ServerSettings(addresses=(ollama.address,))

    # A busy machine may not answer in the half second that servers have.
    wait_until(lambda: [info.reference for info in new_session.list_models()][2:] == [reference], "listed")
    model = new_session.use("tiny", ANY)

    assert new_session.listed == (reference,)
    assert model.info.reference == reference


def test_a_file_comes_before_a_model_of_a_server(new_session: Session, folder: Path, ollama: FaultServer) -> None:
    shutil.copy(demo.PATH, folder / "tiny.gguf")
    new_session.settings = ServerSettings(addresses=(ollama.address,))

    assert new_session.use("tiny", ANY).path == folder / "tiny.gguf"
    assert ollama.requests == []


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        pytest.param(DaemonNotReachable("Gone."), True, id="not reachable"),
        pytest.param(DaemonBusy("Busy."), True, id="busy"),
        pytest.param(PromptTooLong("Long."), True, id="too long"),
        pytest.param(ModelNotInDaemon("No such model."), False, id="no such model"),
    ],
)
def test_only_what_its_server_does_not_have_is_dropped(new_session: Session, error: LocalLLMError, stays: bool) -> None:
    model = served("ollama:x")
    new_session.add(model)

    new_session.drop(model, error)

    assert new_session.models == ((model,) if stays else ())
    assert (new_session.current is model) is stays


def test_closing_forgets_models_of_servers_and_leaves_them_there(new_session: Session) -> None:
    model = served("ollama:x")
    new_session.add(model)
    new_session.listed = ("ollama:x",)

    new_session.close()

    assert not model.is_unloaded
    assert [*new_session.listed, *new_session.models] == []
    assert new_session.current is None
