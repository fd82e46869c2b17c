"""Nothing of an answer is left when it has ended."""

import gc
import socket

import httpcore
import psutil
import pytest

from localllm_magics.engines.server.connection import Exchange
from localllm_magics.engines.stream import Stream
from tests.engines.server.asking import OLLAMA, OPENAI, Wire, outcome
from tests.engines.server.conftest import own_threads, sockets
from tests.engines.server.test_faults import whole
from tests.server.conftest import MakeFaultServer
from tests.server.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.parametrize("wire", [pytest.param(wire, id=wire.engine) for wire in (OLLAMA, OPENAI)]),
]


def test_many_questions_leave_nothing_behind(wire: Wire, fault_server: MakeFaultServer) -> None:
    others = sockets()
    server = fault_server(wire.script(whole(wire)))
    model = wire.model(server.address)
    outcome(model)
    wait_until(lambda: sockets() == others + 1, "the server's own socket alone")
    gc.collect()
    files, things = psutil.Process().num_fds(), len(kept())

    for _ in range(60):
        outcome(model)
        server.requests.clear()

    wait_until(lambda: sockets() == others + 1 and not own_threads(), "the server's own socket alone")
    gc.collect()
    # Less than one of two questions; a thread that ends meanwhile may still hold the last.
    assert psutil.Process().num_fds() < files + 30
    assert len(kept()) < things + 30


def kept() -> list[object]:
    """What lives of earlier answers."""
    return [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, Exchange | Stream | httpcore.ConnectionPool | socket.socket)
    ]
