"""The sockets of one exchange, as httpcore's seam for them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable

import httpcore

from localllm_magics.engines.server.read_throttle import ReadThrottle


class Network(httpcore.NetworkBackend):
    """Makes one connection, which any thread can cancel and whose reads are throttled.

    Closing a socket does not end a read that another thread is blocked in, but shutting the connection down does. That
    needs a handle of its own: for TLS the first one is replaced, in the middle of a handshake. Where the host refuses,
    OTHER_HOSTS are tried.
    """

    def __init__(self, throttle: ReadThrottle, other_hosts: Iterable[str] = ()) -> None:
        self.is_cancelled = False
        self._throttle = throttle
        self._other_hosts = tuple(other_hosts)
        self._backend = httpcore.SyncBackend()
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._handle is not None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; what is cancelled meanwhile is shut down."""
        try:
            stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        except httpcore.ConnectError:
            for other in self._other_hosts:
                with contextlib.suppress(httpcore.ConnectError):
                    return self._own(self._backend.connect_tcp(other, port, timeout, local_address, socket_options))
            raise  # the error of the host that the user named
        return self._own(stream)

    def cancel(self) -> None:
        """Shut the connection down, now or as soon as it is made; whoever reads finds its end."""
        with self._lock:
            self.is_cancelled = True
            self._throttle.end()
            self._shut_down()

    def close(self) -> None:
        """Give the handle back."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def _own(self, stream: httpcore.NetworkStream) -> httpcore.NetworkStream:
        with self._lock:
            self._handle = stream.get_extra_info("socket").dup()
            if self.is_cancelled:
                self._shut_down()
        return _ThrottledStream(stream, self._throttle)

    def _shut_down(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)


class _ThrottledStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, throttle: ReadThrottle) -> None:
        self._stream = stream
        self._throttle = throttle

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._throttle.wait()
        data = self._stream.read(max_bytes, timeout)
        self._throttle.record(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _ThrottledStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._throttle)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
