"""What went wrong between us and a server, in the words of our own errors."""

import socket
import ssl
from collections.abc import Callable, Iterator

import httpx

from localllm_magics.core.errors import BadOption, DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.engines.server.address import Address

BYPASS_PROXY = "Unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY."
_BINARY = "illegal request line"  # in the words of h11: no text begins so, but an alert of TLS does
_MOST_WORDS = 120


def translated(
    error: BaseException,
    address: Address,
    *,
    answered: bool,
    to_start: str = "Is the server running?",
    redact: Callable[[str], str] = str,
) -> LocalLLMError:
    """ERROR of httpx or the system as one of ours.

    Args:
        error: What was raised; a server's words may be in it.
        address: Where to we spoke.
        answered: Whether the head of the answer had come.
        to_start: What to type so that a server runs there.
        redact: Takes secrets out of a text.
    """
    url, words = address.url, redact(str(error))
    if not isinstance(error, (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)):
        return DaemonError(f"Talking to {url} failed: {type(error).__name__}: {words}", "Type: %llm doctor")
    if isinstance(error, httpx.DecodingError):
        return StreamBroken(f"{url} sent an answer that is packed wrongly: {words}", "Ask again.")
    if isinstance(error, (httpx.ConnectTimeout, httpx.ConnectError, UnicodeError)):
        return _no_connection(error, address, words, to_start)
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return BadOption(f"{url} cannot be asked: {words}", "Write it like http://127.0.0.1:8080.")
    if isinstance(error, httpx.ProxyError):
        what = words[:_MOST_WORDS]
        return DaemonNotReachable(f"The proxy on the way to {url} cannot be used: {what}.", BYPASS_PROXY)
    return _broken(error, address, words, answered=answered)


def _no_connection(error: BaseException, address: Address, words: str, to_start: str) -> LocalLLMError:
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        hint = "If you trust it, type: %config LocalLLM.ca_file = '/path/to/its/ca.pem'"
        return DaemonNotReachable(f"The certificate of {address.url} is not trusted: {tls.verify_message}.", hint)
    if tls is not None:
        plain = f"http://{address.place}{address.path}"
        return DaemonNotReachable(
            f"{address.url} does not speak TLS: {getattr(tls, 'reason', None) or tls}.", f"Try {plain}."
        )
    if any(isinstance(cause, (socket.gaierror, UnicodeError)) for cause in causes):  # not found, or no name at all
        hint = "Check the name; for a server on this machine, write 127.0.0.1."
        return DaemonNotReachable(f"There is no host {address.host}.", hint)
    if isinstance(error, httpx.ConnectTimeout):
        hint = f"If it does not speak TLS, try http://{address.place}{address.path}."
        return DaemonNotReachable(
            f"{address.url} does not answer: no connection in time.",
            hint if address.scheme == "https" else to_start,
        )
    is_refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
    what = f"Nothing listens at {address.url}." if is_refused else f"{address.url} cannot be reached: {words}."
    return DaemonNotReachable(what, to_start)


def _broken(error: BaseException, address: Address, words: str, *, answered: bool) -> LocalLLMError:
    url = address.url
    if answered:
        what = "said nothing for too long" if isinstance(error, httpx.TimeoutException) else "broke the connection"
        return StreamBroken(f"{url} {what} in the middle of its answer.", "The text so far is kept. Ask again.")
    if isinstance(error, httpx.TimeoutException):
        hint = "It may hang: start it again, or look into its log."
        return DaemonNotReachable(f"{url} takes connections but does not answer.", hint)
    secure = f"If it wants TLS, try https://{address.place}{address.path}."
    if address.scheme == "http" and _BINARY in words:
        return DaemonNotReachable(f"{url} does not speak plain HTTP.", secure)
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in words:
        return DaemonNotReachable(f"{url} does not speak HTTP: {words[:_MOST_WORDS]}", "Is it another kind of server?")
    hint = "Ask again; its log may say why." + (f" {secure}" if address.scheme == "http" else "")
    return StreamBroken(f"{url} closed the connection before it answered.", hint)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error = error.__cause__ or error.__context__
        seen += 1
