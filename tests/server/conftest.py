"""The servers that the tests of daemons talk to: recorded, real, standing in, and faulty."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from tests.server.faults import FaultServer, InTurn, Steps
from tests.server.llama_server import LlamaServer, llama_server_program
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.recordings import Server, load
from tests.server.replay import Cutting, ReplayServer

DEMO = Path(__file__).parents[2] / "localllm_magics" / "demo" / "demo.gguf"


class MakeFaultServer(Protocol):
    """Starts a `FaultServer`, which the end of the test stops."""

    def __call__(
        self, script: Mapping[str, Steps | InTurn], *, on_connect: Steps = (), tls: ssl.SSLContext | None = None
    ) -> FaultServer: ...


class Recording(Protocol):
    """Starts a `ReplayServer` of a recording, which the end of the test stops."""

    def __call__(
        self, name: str, cutting: Cutting = "as recorded", *, seed: int = 0, resets: bool = False
    ) -> ReplayServer: ...


@pytest.fixture(scope="session")
def demo_gguf() -> Path:
    """The bundled model: some 1,500 tokens a second, in English, and a window of 1,024."""
    return DEMO


@pytest.fixture(scope="session")
def llama_server() -> Iterator[LlamaServer]:
    """A real llama-server with two slots of 1,024 tokens each, for tests that leave it as it is.

    An answer may be longer than a slot, so that only its end ends it.
    """
    with LlamaServer(DEMO, "-c", "2048", "-np", "2", "--context-shift") as server:
        yield server


@pytest.fixture(scope="session")
def one_stand_in() -> Iterator[OllamaStandIn]:
    with OllamaStandIn(llama_server_program(), DEMO) as server:
        yield server


@pytest.fixture
def stand_in(one_stand_in: OllamaStandIn) -> OllamaStandIn:
    """A stand-in for Ollama that has just been started: `demo` is stored, and nothing loaded."""
    one_stand_in.reset()
    return one_stand_in


@pytest.fixture
def fault_server() -> Iterator[MakeFaultServer]:
    with ExitStack() as stack:

        def make(
            script: Mapping[str, Steps | InTurn], *, on_connect: Steps = (), tls: ssl.SSLContext | None = None
        ) -> FaultServer:
            return stack.enter_context(FaultServer(script, on_connect=on_connect, tls=tls))

        yield make


@pytest.fixture
def ollama_recording() -> Iterator[Recording]:
    with ExitStack() as stack:
        yield _recordings("ollama", stack)


@pytest.fixture
def llama_server_recording() -> Iterator[Recording]:
    with ExitStack() as stack:
        yield _recordings("llama-server", stack)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts of himself."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate, for `SSL_CERT_FILE` and the like."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 and localhost, signed by `authority`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def _recordings(server: Server, stack: ExitStack) -> Recording:
    def replay(name: str, cutting: Cutting = "as recorded", *, seed: int = 0, resets: bool = False) -> ReplayServer:
        return stack.enter_context(ReplayServer(load(server, name), cutting, seed=seed, resets=resets))

    return replay
