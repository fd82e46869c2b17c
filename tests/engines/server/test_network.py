import socket
from collections.abc import Iterator

import httpcore
import pytest

from localllm_magics.engines.server.network import Network
from localllm_magics.engines.server.read_throttle import ReadThrottle
from tests.server.waiting import PATIENCE


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(ReadThrottle(), other_hosts=["127.0.0.1"])
    yield network
    network.close()


def test_what_was_cancelled_before_is_shut_down_when_it_connects(network: Network, listener: socket.socket) -> None:
    network.cancel()

    stream = network.connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE)

    assert network.is_connected
    assert stream.read(10, timeout=PATIENCE) == b""
    with pytest.raises(httpcore.WriteError):
        stream.write(b"x")
    stream.close()


def test_a_cancel_ends_a_read(network: Network, listener: socket.socket) -> None:
    stream = network.connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE)

    network.cancel()

    assert stream.read(10, timeout=PATIENCE) == b""
    stream.close()


def test_another_host_is_tried_where_one_refuses(network: Network, listener: socket.socket) -> None:
    stream = network.connect_tcp("127.0.0.2", listener.getsockname()[1], timeout=PATIENCE)

    assert stream.get_extra_info("server_addr") == listener.getsockname()
    stream.close()


def test_where_all_refuse_there_is_no_connection(network: Network, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()

    with pytest.raises(httpcore.ConnectError):
        network.connect_tcp("127.0.0.2", port, timeout=PATIENCE)
    network.cancel()
    assert not network.is_connected
    assert network.is_cancelled


def test_cancelling_and_closing_again_does_nothing(network: Network, listener: socket.socket) -> None:
    network.connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=PATIENCE).close()

    for _ in range(2):
        network.cancel()
    for _ in range(2):
        network.close()

    assert not network.is_connected
