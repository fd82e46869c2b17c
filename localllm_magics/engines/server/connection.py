"""One request to a server and its response, which any thread can cancel at any moment.

Each exchange has a connection of its own. The part that nothing can end, looking up a name and connecting, runs in a
thread that may be left behind. httpx writes the request, and httpcore sends it through a network of ours: a client of
httpx has no place for one.
"""

import json
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NoReturn

import httpcore
import httpx

from localllm_magics.core.address import Address
from localllm_magics.core.errors import (
    BadOption,
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    SetupError,
    StreamBroken,
)
from localllm_magics.core.events import ProgressEvent
from localllm_magics.core.stop import Stop, Stopped, poll
from localllm_magics.core.version import __version__
from localllm_magics.engines.background import in_background
from localllm_magics.engines.server.content_encoding import decompress
from localllm_magics.engines.server.network import Network
from localllm_magics.engines.server.proxy import find_proxy, proxy_denial, proxy_login
from localllm_magics.engines.server.read_throttle import ReadThrottle
from localllm_magics.engines.server.reply import Reply
from localllm_magics.engines.server.secret import Secret
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.engines.server.transport_errors import TRANSPORT_ERRORS, drop_frames, from_transport

SILENT_SECONDS = 600.0
"""So long a server may be busy with a request, or with the next token, without a byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is waited for and read at most.

    Args:
        connect_seconds: Until there is a connection.
        answer_seconds: For a response that needs no model.
        body_bytes: Of a body that is read whole.
    """

    connect_seconds: float = 3.0
    answer_seconds: float = 10.0
    body_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """How to reach a server.

    Args:
        key: The API key, for a server that is ours; no message contains it.
        ca_file: A file of certificates to trust on top of the system's.
        to_start: How to start a server there.
        settings: Where the key of another server is looked up, anew for each request.
    """

    address: Address
    key: str | None = None
    ca_file: str | None = None
    to_start: str = "Is the server running?"
    limits: Limits = Limits()
    settings: ServerSettings | None = None

    @classmethod
    def to(cls, address: Address, settings: ServerSettings, *, to_start: str, is_named: bool = True) -> "Connection":
        """The connection to ADDRESS; a server that the user has not named gets no key."""
        keys = settings if is_named else None
        return cls(address, ca_file=settings.ca_file or None, to_start=to_start, settings=keys)

    def __repr__(self) -> str:
        return f"<Connection to {self.address.url}>"

    def ask(
        self, method: str, path: str, body: object = None, *, stop: Stop | None = None, seconds: float | None = None
    ) -> Reply:
        """Send a request and wait for the whole response, at most SECONDS once connected.

        Raises:
            LocalLLMError: There is no response.
            Stopped: STOP was set.
        """
        (reply,) = self._replies([(method, path, body)], stop or Stop(), seconds)
        return reply

    def ask_all(
        self, paths: Sequence[str], *, stop: Stop | None = None, seconds: float | None = None
    ) -> dict[str, Reply]:
        """The responses to GET requests for PATHS, sent at the same time; otherwise as `ask`."""
        replies = self._replies([("GET", path, None) for path in paths], stop or Stop(), seconds)
        return dict(zip(paths, replies, strict=True))

    @contextmanager
    def post(self, path: str, body: object, stop: Stop) -> Iterator["Exchange"]:
        """Send a POST request, which STOP cancels in the block, and whose end cancels what is left of it."""
        with Exchange(self, "POST", path, body) as exchange, stop.calling(exchange.cancel):
            yield exchange

    @property
    def secret(self) -> Secret:
        """The key as it is set now, of which an empty one is none, and what logs in to the proxy."""
        key = self.key if self.settings is None else self.settings.find_key(self.address)
        return Secret(key or "", proxy_login(self.address))

    def redact(self, text: str) -> str:
        """TEXT of a server without our key in it."""
        return self.secret.redact(text)

    def _replies(self, requests: Sequence[tuple[str, str, object]], stop: Stop, seconds: float | None) -> list[Reply]:
        seconds = self.limits.answer_seconds if seconds is None else seconds
        until = time.monotonic() + self.limits.connect_seconds + seconds
        exchanges = [Exchange(self, *request, seconds=seconds) for request in requests]
        waiting = list(exchanges)
        with ExitStack() as stack:
            for exchange in exchanges:
                stack.enter_context(exchange)
                stack.enter_context(stop.calling(exchange.cancel))
            while waiting:
                self._wait_for_any(waiting, until, stop)
                for exchange in [exchange for exchange in waiting if exchange.wait(0)]:
                    exchange.read_all(until)
                    exchange.cancel()  # some servers take one connection at a time
                    waiting.remove(exchange)
            return [exchange.read_all() for exchange in exchanges]

    def _wait_for_any(self, exchanges: Sequence["Exchange"], until: float, stop: Stop) -> None:
        def has_head(seconds: float) -> bool:
            return exchanges[0].wait(seconds) or any(exchange.wait(0) for exchange in exchanges)

        for _ in poll(has_head, stop):
            if time.monotonic() > until:
                raise from_transport(httpcore.ReadTimeout(), self.address, is_answered=False)


class Exchange:
    """A request that is sent, and the response as it comes; a context manager.

    Args:
        path: What follows the base URL.
        body: Sent as JSON unless None.
        seconds: How long the server may send nothing.
    """

    def __init__(
        self, connection: Connection, method: str, path: str, body: object = None, *, seconds: float = SILENT_SECONDS
    ) -> None:
        self._connection = connection
        self._method = method
        self._path = path
        self._body = body
        self._seconds = seconds
        self._secret = connection.secret
        self._throttle = ReadThrottle()
        self._network = Network(self._throttle, connection.address.other_hosts)
        self._pool: httpcore.ConnectionPool | None = None
        self._opening: Future[httpcore.Response] = Future()
        self._reply: Reply | None = None

    def __enter__(self) -> "Exchange":
        self._opening = in_background(self._open, "localllm-connect")
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._opening.add_done_callback(self._close)  # in the thread that still connects, if it does

    def wait(self, seconds: float) -> bool:
        """Wait for the head of the response, or an error; whether it came."""
        return bool(wait_for([self._opening], seconds).done)

    def cancel(self) -> None:
        """Break the connection; whoever waits for it gets `Stopped`, immediately where the connection was made."""
        self._network.cancel()

    @property
    def head(self) -> Reply:
        """The response without our key, whose body is not read yet.

        Raises:
            LocalLLMError: There is none.
            Stopped: The exchange was cancelled.
        """
        response = self._response
        return Reply(response.status, self._secret.redact_headers(httpx.Headers(response.headers)))

    @property
    def is_loading(self) -> bool:
        """Whether the response is that the server's model is still being loaded; raises as `head` does."""
        return self.head.status != 200 and self.read_all().is_loading

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces, decompressed, at the pace of `ReadThrottle`.

        Raises:
            LocalLLMError: The body broke off.
            Stopped: The exchange was cancelled.
        """
        self._throttle.begin()
        yield from self._pieces()

    def redact_events(self, events: Iterable[ProgressEvent]) -> Iterator[ProgressEvent]:
        """EVENTS of the answer without our key in them."""
        return self._secret.redact_events(events)

    def read_all(self, until: float = float("inf")) -> Reply:
        """The whole response, the second time too; of an error only the start.

        Args:
            until: When `time.monotonic` is past it, a server that still sends is given up.

        Raises:
            LocalLLMError: There is none, it broke off, or it is too large.
            Stopped: The exchange was cancelled.
        """
        if self._reply is None:
            head = self.head
            body = self._whole(until) if head.status == 200 else self._start(until)
            if head.status == 407:  # a proxy's own words, and no answer, in which a password may be a word
                body = self._secret.redact(body.decode("utf-8", "replace")).encode()
            self._reply = replace(head, body=self._secret.redact_body(body))
        return self._reply

    @property
    def _response(self) -> httpcore.Response:
        error = self._opening.exception()
        if error is not None:
            self._fail(error, is_answered=False)
        return self._opening.result()

    def _pieces(self) -> Iterator[bytes]:
        response = self._response
        try:
            yield from decompress(response.iter_stream(), self.head.headers)
        except TRANSPORT_ERRORS as exc:
            self._fail(exc, is_answered=True)
        if self._network.is_cancelled:
            raise Stopped

    def _whole(self, until: float) -> bytes:
        body, url, most = bytearray(), self._connection.address.url, self._connection.limits.body_bytes
        for chunk in self._pieces():
            body += chunk
            if len(body) > most:
                raise DaemonError(f"{url} sends more than {most >> 20} MB in one answer.", "Is it a model server?")
            if time.monotonic() > until:
                raise DaemonNotReachable(f"{url} answers too slowly.", "It may be busy: check its log.")
        return bytes(body)

    def _start(self, until: float) -> bytes:
        """The start of the body, as far as it comes: the status is enough."""
        body = bytearray()
        with suppress(StreamBroken):
            for chunk in self._pieces():
                body += chunk
                if len(body) >= 64 * 2**10 or time.monotonic() > until:
                    break
        return bytes(body)

    def _fail(self, error: BaseException, *, is_answered: bool) -> NoReturn:
        connection = self._connection
        if self._network.is_cancelled:
            raise Stopped from None
        drop_frames(error)
        if isinstance(error, LocalLLMError):
            raise error
        redact = self._secret.redact
        ours = from_transport(
            error, connection.address, is_answered=is_answered, to_start=connection.to_start, redact=redact
        )
        is_safe = redact(str(error)) == str(error)  # it may quote the server, which may quote the key
        raise ours from (error if is_safe else None)

    def _open(self) -> httpcore.Response:
        proxy = find_proxy(self._connection.address)
        # A proxy is given here only: this machine's own servers are reached without that of the environment.
        self._pool = httpcore.ConnectionPool(_tls_context(self._connection), proxy, network_backend=self._network)
        try:
            return self._pool.handle_request(self._to_request())
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            if proxy is None or self._network.is_connected:
                raise
            raise httpcore.ProxyError(str(exc)) from exc
        except httpcore.ProxyError as exc:  # of a tunnel for TLS; elsewhere a 407 is the response
            status, _, reason = self._secret.redact(str(exc)).partition(" ")
            denial = proxy_denial(self._connection.address, reason[:200]) if status == "407" else None
            raise denial or exc from None

    def _to_request(self) -> httpcore.Request:
        connection, address = self._connection, self._connection.address
        # In ASCII, so that a lone surrogate does not keep a text from being sent.
        content = None if self._body is None else json.dumps(self._body).encode()
        request = httpx.Request(
            self._method, f"{address.url}{self._path}", headers=_headers(self._secret, content), content=content
        )
        url = httpcore.URL(
            scheme=address.scheme,
            # Where `localhost` is, of which servers check the name.
            host=address.host.encode() if address.is_localhost else request.url.raw_host,
            port=address.port,
            target=request.url.raw_path,
        )
        timeout = {"connect": connection.limits.connect_seconds, "write": 30.0, "read": self._seconds}
        return httpcore.Request(
            self._method, url, headers=request.headers.raw, content=content, extensions={"timeout": timeout}
        )

    def _close(self, _opening: "Future[httpcore.Response]") -> None:
        if self._pool is not None:
            self._pool.close()
        self._network.close()


def _headers(secret: Secret, content: bytes | None) -> dict[str, str]:
    headers = {
        "User-Agent": f"localllm-magics/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
    }
    if content is not None:
        headers["Content-Type"] = "application/json"
    if not secret.key:
        return headers
    if not (secret.authorization.isascii() and secret.authorization.isprintable()):
        raise BadOption("The API key has characters that no key can have.", "Set its variable again.")
    return headers | {"Authorization": secret.authorization}


def _tls_context(connection: Connection) -> ssl.SSLContext | None:
    if connection.address.scheme != "https":
        return None
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
