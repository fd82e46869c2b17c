from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from localllm_magics.core.address import Address
from localllm_magics.engines.server.connection import Connection
from tests.server.faults import FaultServer, InTurn, Steps

Serve = Callable[[Mapping[str, Steps | InTurn]], FaultServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server of a script, which the end of the test stops."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(FaultServer(script))


@pytest.fixture
def connect(serve: Serve) -> Callable[[Mapping[str, Steps | InTurn]], Connection]:
    """The way to a server of a script."""
    return lambda script: Connection(Address.from_text(serve(script).address))
