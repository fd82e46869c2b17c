"""What the session does with models of servers."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.served_models import ollama_model
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
    return Model(engine, ollama_model("x", Address.from_text(ADDRESS), reference))


@pytest.mark.parametrize(
    "reference", ["ollama:x", f"ollama:x@{ADDRESS}", f"openai:x@{ADDRESS}", f"openai:x@{ADDRESS}/v1", ADDRESS]
)
def test_a_model_of_a_server_is_used_without_asking_whether_it_is_there(new_session: Session, reference: str) -> None:
    use = new_session.use(reference, ANY)

    assert (use.model.info.reference, str(use.model.info.address)) == (reference, ADDRESS)
    assert new_session.use(reference, ANY).model is use.model


def test_a_model_of_a_server_that_was_started_by_others_takes_no_load_options(new_session: Session) -> None:
    use = new_session.use(f"openai:x@{ADDRESS}", ANY)
    use.keep()

    with pytest.raises(BadOption, match="was started with load options"):
        new_session.use(use.model.info.reference, LoadOptions(ctx=512))

    assert new_session.use(None, ANY).model is use.model
    assert not use.model.is_unloaded


def test_force_changes_nothing_for_a_model_of_a_server(new_session: Session) -> None:
    new_session.add(model := served("ollama:x"))
    use = new_session.use("ollama:x", LoadOptions(force=True))

    assert (use.model, use.notices, model.options) == (model, (), ANY)


def test_a_model_of_a_server_cannot_be_pinned(new_session: Session) -> None:
    use = new_session.use("ollama:x", ANY)

    use.pin()

    assert use.notices == ("--pin has no effect: the server of ollama:x decides what it keeps.",)
    assert not use.model.is_pinned


def test_a_server_that_did_not_answer_is_not_the_current_one(new_session: Session) -> None:
    demo_use = new_session.use("demo", ANY)
    demo_use.keep()

    new_session.use(ADDRESS, ANY).undo()

    assert (new_session.current, new_session.models) == (demo_use.model, (demo_use.model,))


def test_a_server_that_has_answered_stays_when_it_is_away(new_session: Session) -> None:
    use = new_session.use(ADDRESS, ANY)
    use.keep()

    new_session.use(None, ANY).undo()

    assert (new_session.current, new_session.models) == (use.model, (use.model,))


def test_another_ollama_is_another_model(new_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_session.use("ollama:x", ANY)
    first.keep()

    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:10")
    named, bare = new_session.use("ollama:x", ANY), new_session.use(None, ANY)
    before = (new_session.current, new_session.models)
    bare.keep()

    assert (str(first.model.info.address), str(named.model.info.address)) == (ADDRESS, "http://127.0.0.1:10")
    assert bare.model is named.model
    assert before == (first.model, (first.model,))
    assert (new_session.current, new_session.models) == (named.model, (named.model,))


def test_other_settings_reach_a_model_that_is_in_use(new_session: Session) -> None:
    first = new_session.use("ollama:x", ANY)
    first.keep()

    new_session.settings = ServerSettings(addresses=(ADDRESS,))
    same = new_session.use("ollama:x", ANY).model
    new_session.settings = ServerSettings(keep_alive="10m")
    other = new_session.use("ollama:x", ANY).model

    assert same is first.model
    assert other is not first.model


def test_the_folder_does_not_matter_to_a_server(
    new_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_session.use("ollama:x", ANY)
    first.keep()

    monkeypatch.chdir(tmp_path)

    assert new_session.use("ollama:x", ANY).model is first.model
    assert new_session.use(None, ANY).model is first.model


def test_nobody_waits_for_a_silent_server(new_session: Session, folder: Path) -> None:
    with FaultServer({"/api/version": []}) as silent:
        resolving = threading.Thread(target=lambda: new_session.use(silent.address, ANY).undo())
        resolving.start()
        wait_until(lambda: bool(silent.requests), "asked")

        use = new_session.use("mine.gguf", ANY)
        use.keep()
        was_resolving = resolving.is_alive()
    resolving.join()

    assert was_resolving
    assert new_session.models == (use.model,)


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
    model = new_session.use("tiny", ANY).model

    assert new_session.listed == (reference,)
    assert model.info.reference == reference


def test_a_file_comes_before_a_model_of_a_server(new_session: Session, folder: Path, ollama: FaultServer) -> None:
    shutil.copy(demo.PATH, folder / "tiny.gguf")
    new_session.settings = ServerSettings(addresses=(ollama.address,))

    assert new_session.use("tiny", ANY).model.path == folder / "tiny.gguf"
    assert ollama.requests == []


def test_closing_forgets_models_of_servers_and_leaves_them_there(new_session: Session) -> None:
    model = served("ollama:x")
    new_session.add(model)
    new_session.listed = ("ollama:x",)

    new_session.close()

    assert not model.is_unloaded
    assert [*new_session.listed, *new_session.models] == []
    assert new_session.current is None
