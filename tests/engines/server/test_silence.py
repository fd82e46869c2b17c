import pytest

from localllm_magics.core.errors import DaemonNotReachable
from localllm_magics.core.events import Failed
from localllm_magics.engines.server import connection
from tests.engines.server.asking import OLLAMA, OPENAI, ending
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Hold


@pytest.mark.usefixtures("nothing_is_left")
def test_a_server_that_is_silent_is_given_up(fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
    server = fault_server({"*": [Hold()]})

    with OLLAMA.model(server.address).stream("Hi") as one, OPENAI.model(server.address).stream("Hi") as other:
        ends = [ending(one), ending(other)]

    for last in ends:
        assert isinstance(last, Failed)
        assert type(last.error) is DaemonNotReachable
        assert last.error.message == f"{server.address} takes connections but does not answer."
