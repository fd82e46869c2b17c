"""What failed between us and a server, as one of our errors."""

import socket
import ssl
import zlib
from collections.abc import Callable, Iterator

import httpcore
import httpx

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken

BYPASS_PROXY = "Unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY."
TRANSPORT_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
    zlib.error,
    OSError,
    ValueError,
)
_TO_RENEW = "The server needs another certificate."
_TO_NAME_CA = "If you trust it, type: %config LocalLLM.ca_file = '/path/to/its/ca.pem'"
_TO_NAME_HOST = "Write its address with a name that the certificate is for, or have it made for this one."
_TO_TRUST = {
    **dict.fromkeys((2, 18, 19, 20, 21), _TO_NAME_CA),  # by an unknown authority, or by itself
    **dict.fromkeys((62, 64), _TO_NAME_HOST),
    9: "It is not valid yet: is the clock of this machine right?",
    10: "It has to be renewed on the server, if the clock of this machine is right.",
}
"""What to do about the errors of OpenSSL's x509_vfy.h; naming an authority helps with few of them."""
_BINARY = "illegal request line"  # a message of h11: no text begins so, but an alert of TLS does
_LONGEST_MESSAGE = 120
_MOST_CAUSES = 10


def from_transport(
    error: BaseException,
    address: Address,
    *,
    is_answered: bool,
    to_start: str = "Is the server running?",
    redact: Callable[[str], str] = str,
) -> LocalLLMError:
    """Our error for ERROR of httpcore or the system, whose message may quote the server: REDACT removes secrets.

    IS_ANSWERED is whether the head of the response had come, and TO_START how to start a server there.
    """
    url, message = address.url, redact(str(error))
    if isinstance(error, zlib.error):
        return StreamBroken(f"{url} sent an answer that is compressed wrongly: {message}", "Ask again.")
    if isinstance(error, httpcore.ConnectTimeout | httpcore.ConnectError | UnicodeError):
        return _no_connection(error, address, message, to_start)
    if isinstance(error, httpcore.UnsupportedProtocol | httpcore.LocalProtocolError | httpx.InvalidURL):
        return BadOption(f"{url} cannot be asked: {message}", "Write it like http://127.0.0.1:8080.")
    if isinstance(error, httpcore.ProxyError):
        message = message[:_LONGEST_MESSAGE]
        return DaemonNotReachable(f"The proxy on the way to {url} cannot be used: {message}.", BYPASS_PROXY)
    if isinstance(error, TRANSPORT_ERRORS):
        return _in_the_middle(error, address) if is_answered else _no_answer(error, address, message)
    return DaemonError(f"Talking to {url} failed: {type(error).__name__}: {message}", "Type: %llm doctor")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """ERROR, and what caused it."""
    for _ in range(_MOST_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def drop_frames(error: BaseException) -> None:
    """Forget where ERROR was raised: keys, passwords of proxies, and what a server echoes are local variables there."""
    for cause in causes(error):
        cause.__traceback__ = None


def _no_connection(error: BaseException, address: Address, message: str, to_start: str) -> LocalLLMError:
    found = list(causes(error))
    tls = next((cause for cause in found if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return _no_tls(tls, address)
    if any(isinstance(cause, socket.gaierror | UnicodeError) for cause in found):  # not found, or no name at all
        hint = "Check the name; for a server on this machine, write 127.0.0.1."
        return DaemonNotReachable(f"There is no host {address.host}.", hint)
    if isinstance(error, httpcore.ConnectTimeout):
        no_tls = f"If it does not speak TLS, try {_with_scheme('http', address)}."
        hint = no_tls if address.scheme == "https" else to_start
        return DaemonNotReachable(f"{address.url} does not answer: no connection in time.", hint)
    if any(isinstance(cause, ConnectionRefusedError) for cause in found):
        return DaemonNotReachable(f"Nothing listens at {address.url}.", to_start)
    return DaemonNotReachable(f"{address.url} cannot be reached: {message}.", to_start)


def _no_tls(error: ssl.SSLError, address: Address) -> LocalLLMError:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"The certificate of {address.url} is not trusted: {error.verify_message.rstrip('.')}."
        return DaemonNotReachable(message, _TO_TRUST.get(error.verify_code, _TO_RENEW))
    reason = getattr(error, "reason", None) or error
    return DaemonNotReachable(f"{address.url} does not speak TLS: {reason}.", f"Try {_with_scheme('http', address)}.")


def _in_the_middle(error: BaseException, address: Address) -> LocalLLMError:
    is_silent = isinstance(error, httpcore.TimeoutException)
    failure = "sent nothing for too long" if is_silent else "broke the connection"
    return StreamBroken(f"{address.url} {failure} in the middle of its answer.", "Ask again.")


def _no_answer(error: BaseException, address: Address, message: str) -> LocalLLMError:
    url = address.url
    if isinstance(error, httpcore.TimeoutException):
        hint = "It may be hanging: restart it, or check its log."
        return DaemonNotReachable(f"{url} accepts connections but does not answer.", hint)
    if_tls = f"If it wants TLS, try {_with_scheme('https', address)}." if address.scheme == "http" else ""
    if if_tls and _BINARY in message:
        return DaemonNotReachable(f"{url} does not speak plain HTTP.", if_tls)
    if isinstance(error, httpcore.RemoteProtocolError) and "disconnected" not in message:
        quoted = message[:_LONGEST_MESSAGE]
        return DaemonNotReachable(f"{url} does not speak HTTP: {quoted}", "Is it another kind of server?")
    hint = f"Ask again; its log may say why. {if_tls}".rstrip()
    return StreamBroken(f"{url} closed the connection before it answered.", hint)


def _with_scheme(scheme: str, address: Address) -> str:
    return f"{scheme}://{address.netloc}{address.path}"
