from pathlib import Path

import pytest

from localllm_magics.catalog.server_reference import resolve_server_reference
from localllm_magics.core.address import Address
from localllm_magics.core.errors import DaemonNotReachable
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.ollama.engine import OllamaEngine
from localllm_magics.engines.openai.engine import OpenAIEngine
from localllm_magics.engines.openai.server_handle import ExternalServer
from localllm_magics.engines.server.connection import Connection, Limits
from localllm_magics.model import Model
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Hold


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_server_that_is_silent_is_given_up(kind: str, fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [Hold()]})
    connection = Connection(Address.from_text(server.address), limits=Limits(answer_seconds=0.1))
    info, options = resolve_server_reference(f"{kind}:m@{server.address}", Path()), LoadOptions()
    engine = (
        OllamaEngine(info, options, connection)
        if kind == "ollama"
        else OpenAIEngine(info, options, ExternalServer(connection), "m")
    )

    with pytest.raises(DaemonNotReachable) as caught:
        Model(engine, info).complete("Hi")

    assert caught.value.message == f"{server.address} accepts connections but does not answer."
