"""One request to a server and its answer, which any thread can break off at any moment.

A blocked read cannot be ended by closing its socket from another thread, only by shutting the
connection down, and httpx shows its socket once it has connected. So each exchange has a
connection of its own, keeps a second handle on it, and does the part that nothing can end, the
look-up of a name and the connecting, in a thread that may be left behind.
"""

import contextlib
import json
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from localllm_magics.core.errors import (
    BadOption,
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    SetupError,
    StreamBroken,
)
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.core.version import __version__
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.keys import find_key
from localllm_magics.engines.server.local_servers import how_to_start
from localllm_magics.engines.server.read_throttle import ReadThrottle
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.engines.server.transport_errors import BYPASS_PROXY, translated

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""Within this time a server answers what needs no model."""
SILENT_SECONDS = 600.0
"""So long a server may be busy with a request, or with the next token, without a byte."""
_MOST_BYTES = 64 * 2**20
_MOST_REFUSAL_BYTES = 64 * 2**10
_TICK = 0.05
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def to_json(self) -> object:
        """The body as JSON, or None if it is none."""
        try:
            value: object = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value

    def to_dict(self) -> dict[str, object]:
        """The body as a JSON object; empty if it is none."""
        value = self.to_json()
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach a server.

    Args:
        address: Where it is.
        key: What goes into the header `Authorization`; kept out of every message.
        ca_file: A file of certificates to trust on top of the system's.
        is_ollama: Whether an Ollama is there, as the user says or as it has answered; None is not known.
    """

    address: Address
    key: str | None = None
    ca_file: str | None = None
    is_ollama: bool | None = None

    @classmethod
    def to(
        cls, address: Address, settings: ServerSettings, *, is_named: bool = True, is_ollama: bool | None = None
    ) -> "Connection":
        """The way to ADDRESS; a server that the user has not named gets no key."""
        key = find_key(address, settings.key_variables) if is_named else None
        return cls(address, key, settings.ca_file or None, is_ollama)

    def __repr__(self) -> str:
        return f"<Connection to {self.address.url}>"

    def ask(
        self, method: str, path: str, body: object = None, *, stop: Stop | None = None, seconds: float | None = None
    ) -> Reply:
        """Send a request and wait for the whole answer, at most SECONDS once connected; `ANSWER_SECONDS` by default.

        Raises:
            LocalLLMError: There is no answer.
            Stopped: STOP was set.
        """
        seconds = ANSWER_SECONDS if seconds is None else seconds
        (reply,) = self._replies([Exchange(self, method, path, body, seconds=seconds)], stop or Stop(), seconds)
        return reply

    def ask_all(
        self, paths: Sequence[str], *, stop: Stop | None = None, seconds: float | None = None
    ) -> dict[str, Reply]:
        """The answers to GET requests for PATHS, sent at once; otherwise as `ask`."""
        seconds = ANSWER_SECONDS if seconds is None else seconds
        exchanges = [Exchange(self, "GET", path, seconds=seconds) for path in paths]
        return dict(zip(paths, self._replies(exchanges, stop or Stop(), seconds), strict=True))

    def redact(self, text: str) -> str:
        """TEXT of a server without our key in it."""
        return text.replace(self.key, "…") if self.key else text

    def _replies(self, exchanges: Sequence["Exchange"], stop: Stop, seconds: float) -> list[Reply]:
        until = time.monotonic() + CONNECT_SECONDS + seconds
        with contextlib.ExitStack() as stack:
            for exchange in exchanges:
                stack.enter_context(exchange)
                stack.enter_context(stop.calling(exchange.cancel))
            waiting = list(exchanges)
            while waiting:
                is_there = waiting[0].wait(_TICK)
                if stop.is_set():
                    raise Stopped
                if not is_there and time.monotonic() > until:
                    raise translated(httpx.ReadTimeout("no answer"), self.address, answered=False)
                for exchange in [exchange for exchange in waiting if exchange.wait(0)]:
                    exchange.read_all(until)
                    exchange.cancel()  # some servers take one connection at a time
                    waiting.remove(exchange)
            return [exchange.read_all() for exchange in exchanges]


class Exchange:
    """A request that was sent, and the answer as it comes; a context manager.

    Args:
        connection: Where to.
        method: Of HTTP.
        path: What follows the base URL.
        body: Sent as JSON unless None.
        seconds: How long the server may say nothing.
    """

    def __init__(
        self, connection: Connection, method: str, path: str, body: object = None, *, seconds: float = SILENT_SECONDS
    ) -> None:
        self._connection = connection
        self._what = (method, path, body)
        self._seconds = seconds
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._is_over = False
        self._pace = ReadThrottle()
        self._handle: socket.socket | None = None
        self._transport: httpx.HTTPTransport | None = None
        self._response: httpx.Response | None = None
        self._reply: Reply | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Exchange":
        threading.Thread(target=self._open, name="localllm-connect", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        with self._lock:
            self._is_over = True
            if not self._opened.is_set():
                return  # the thread that opens it will find nobody waiting
        self._close()

    def wait(self, seconds: float) -> bool:
        """Wait for the head of the answer, or an error; whether it came."""
        return self._opened.wait(seconds)

    def cancel(self) -> None:
        """Break the connection; whoever waits for it gets `Stopped`, at once where the connection stands."""
        with self._lock:
            self._is_cancelled = True
            self._pace.end()
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

    @property
    def response(self) -> httpx.Response:
        """The answer's head; its body is not read yet.

        Raises:
            LocalLLMError: There is no answer.
            Stopped: The exchange was broken off.
        """
        if self._response is None:
            self._raise(self._error)
        assert self._response is not None  # noqa: S101 - else an error was raised
        return self._response

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces, unpacked if it was compressed, at the pace of `ReadThrottle`.

        Raises:
            LocalLLMError: The body broke off.
            Stopped: The exchange was broken off.
        """
        self._pace.begin()
        yield from self._pieces()

    def read_all(self, until: float = float("inf")) -> Reply:
        """The whole answer, the second time too; of a refusal so much as can matter.

        Args:
            until: When `time.monotonic` is past it, a server that still sends is given up.

        Raises:
            LocalLLMError: There is none, it broke off, or it is too large.
            Stopped: The exchange was broken off.
        """
        if self._reply is None:
            response = self.response
            body = self._whole(until) if response.status_code == 200 else self._start(until)
            self._reply = Reply(response.status_code, response.headers, body)
        return self._reply

    def _pieces(self) -> Iterator[bytes]:
        try:
            yield from self.response.iter_bytes()
        except (httpx.HTTPError, OSError, ValueError) as exc:
            self._raise(exc)
        if self._is_cancelled:
            raise Stopped

    def _whole(self, until: float) -> bytes:
        body, url = bytearray(), self._connection.address.url
        for chunk in self._pieces():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise DaemonError(f"{url} sends more than {_MOST_BYTES >> 20} MB at once.", "Is it a model server?")
            if time.monotonic() > until:
                raise DaemonNotReachable(f"{url} answers too slowly.", "It may be busy: look into its log.")
        return bytes(body)

    def _start(self, until: float) -> bytes:
        """The start of the body, as far as it comes: the status says the most."""
        body = bytearray()
        with contextlib.suppress(StreamBroken):
            for chunk in self._pieces():
                body += chunk
                if len(body) >= _MOST_REFUSAL_BYTES or time.monotonic() > until:
                    break
        return bytes(body)

    def _raise(self, error: BaseException | None) -> None:
        if self._is_cancelled:
            raise Stopped from error
        assert error is not None  # noqa: S101 - opened without an answer
        if isinstance(error, LocalLLMError):
            raise error
        connection = self._connection
        ours = translated(
            error,
            connection.address,
            answered=self._response is not None,
            to_start=how_to_start(connection.address, is_ollama=bool(connection.is_ollama)),
            redact=connection.redact,
        )
        # A server's words may be in it, and our key in those.
        raise ours from (error if connection.redact(str(error)) == str(error) else None)

    def _open(self) -> None:
        try:
            self._response = self._send()
        except BaseException as exc:  # noqa: BLE001 - it is raised again in the thread that waits
            self._error = exc
        finally:
            with self._lock:
                self._opened.set()
                is_left_behind = self._is_over
            if is_left_behind:
                self._close()

    def _send(self) -> httpx.Response:
        first, *others = self._connection.address.alternatives
        try:
            return self._send_to(first)
        except httpx.ConnectError:
            for address in others:
                self._close()
                with contextlib.suppress(httpx.ConnectError):
                    return self._send_to(address)
            raise  # what the address said that the user knows

    def _send_to(self, address: Address) -> httpx.Response:
        method, path, body = self._what
        proxy = _proxy(address)
        # Not a client of httpx: each makes a context for TLS, and takes a millisecond more to the first token.
        self._transport = _transport(self._connection, proxy)
        # Not httpx's own JSON, which stops at half a character.
        content = None if body is None else json.dumps(body).encode()
        headers = _headers(self._connection.key) | ({} if content is None else {"Content-Type": "application/json"})
        if address != self._connection.address:
            # The name that was asked for, as servers check it, with the place that answers to it.
            headers["Host"] = self._connection.address.place
        timeout = httpx.Timeout(self._seconds, connect=CONNECT_SECONDS, write=30.0)
        extensions = {"trace": self._trace, "timeout": timeout.as_dict()}
        url = f"{address.url}{path}"
        request = httpx.Request(method, url, content=content, headers=headers, extensions=extensions)
        try:
            return self._transport.handle_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            if proxy is None or self._handle is not None:
                raise
            raise httpx.ProxyError(str(exc)) from exc

    def _trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take a handle on the connection when it stands, and slow it down; httpcore calls this at each step."""
        stream: Any = info.get("return_value")  # httpcore.NetworkStream
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream.read = self._pace.spaced(stream.read)
        if not event.endswith(".connect_tcp.complete"):
            return
        found = stream.get_extra_info("socket")
        with self._lock:
            self._handle = found.dup()
            if self._is_cancelled:
                self._handle.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
        if self._transport is not None:
            self._transport.close()
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


def _transport(connection: Connection, proxy: str | None) -> httpx.HTTPTransport:
    verify = _tls(connection)
    try:
        # Nothing of the environment: a proxy would be used for this machine's own servers too.
        return httpx.HTTPTransport(verify=verify, proxy=proxy, trust_env=False)
    except (ImportError, ValueError, httpx.InvalidURL) as exc:
        raise SetupError(f"The proxy of the environment cannot be used: {exc}", BYPASS_PROXY) from exc


def _headers(key: str | None) -> dict[str, str]:
    headers = {
        "User-Agent": f"localllm-magics/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
    }
    if key is None:
        return headers
    if not (key.isascii() and key.isprintable()):
        raise BadOption("The API key has characters that no key can have.", "Set its variable again.")
    return headers | {"Authorization": f"Bearer {key}"}


def _tls(connection: Connection) -> ssl.SSLContext:
    if connection.address.scheme != "https":
        return _NO_TLS
    # The system's certificates, or those that SSL_CERT_FILE and SSL_CERT_DIR name.
    context = ssl.create_default_context()
    if connection.ca_file:
        try:
            context.load_verify_locations(connection.ca_file)
        except (OSError, ValueError) as exc:
            raise SetupError(
                f"The certificates in {connection.ca_file} cannot be read: {exc}", "Type: %config LocalLLM.ca_file = ''"
            ) from exc
    return context


def _proxy(address: Address) -> str | None:
    if address.is_loopback or urllib.request.proxy_bypass(address.host):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(address.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"
