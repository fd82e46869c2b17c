"""The servers of tests/daemon, and a look at what a test leaves behind."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psutil
import pytest

from tests.server.conftest import authority, authority_file, fault_server, tls
from tests.server.waiting import wait_until

__all__ = ["authority", "authority_file", "fault_server", "tls"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """The test leaves no thread of ours and no socket behind, whatever its server did."""
    before = sockets()
    yield
    wait_until(lambda: not own_threads(), f"the end of {own_threads()}")
    wait_until(lambda: sockets() <= before, "all sockets closed")


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("localllm-")]


def sockets() -> int:
    """The sockets of this process, of the servers in it too; a copy of a socket counts."""
    return len(psutil.Process().net_connections("tcp"))


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose connections are never made: as many as it takes wait to be accepted."""
    if sys.platform != "linux":
        pytest.skip("other systems refuse such connections, or make them")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            visitor = stack.enter_context(closing(socket.socket()))
            visitor.setblocking(False)
            visitor.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
