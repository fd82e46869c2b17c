import errno
import socket
import ssl
import zlib

import httpcore
import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.engines.server.transport_errors import from_transport

PLAIN = Address.from_text("http://models.example:8080/base")
SECURE = Address.from_text("https://models.example:8443/base")
NO_HOST = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
UNREACHABLE = OSError(errno.EHOSTUNREACH, "No route to host")


def caused(error: Exception, *causes: BaseException) -> Exception:
    """ERROR, as it is when its cause has the next cause, and so on."""
    above: BaseException = error
    for cause in causes:
        above.__cause__ = cause
        above = cause
    return error


@pytest.mark.parametrize(
    ("error", "address", "kind", "words"),
    [
        pytest.param(
            caused(httpcore.ConnectError("x"), OSError("y"), REFUSED),
            PLAIN,
            DaemonNotReachable,
            "Nothing listens at http://models.example:8080/base.",
            id="refused",
        ),
        pytest.param(
            caused(httpcore.ConnectError("x"), NO_HOST),
            PLAIN,
            DaemonNotReachable,
            "There is no host models.example.",
            id="no such name",
        ),
        pytest.param(
            UnicodeError("label empty or too long"),
            PLAIN,
            DaemonNotReachable,
            "There is no host models.example.",
            id="no name at all",
        ),
        pytest.param(
            caused(httpcore.ConnectError("[Errno 113] No route to host"), UNREACHABLE),
            PLAIN,
            DaemonNotReachable,
            "cannot be reached: [Errno 113] No route to host.",
            id="no way there",
        ),
        pytest.param(httpcore.ConnectTimeout("x"), PLAIN, DaemonNotReachable, "no connection in time", id="black hole"),
        pytest.param(httpcore.ConnectTimeout("x"), SECURE, DaemonNotReachable, "no connection in time", id="handshake"),
        pytest.param(
            caused(httpcore.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            SECURE,
            DaemonNotReachable,
            "does not speak TLS",
            id="no TLS",
        ),
        pytest.param(httpcore.PoolTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="pool"),
        pytest.param(httpcore.ReadTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="silent"),
        pytest.param(httpcore.WriteTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="deaf"),
        pytest.param(httpcore.ReadError("x"), PLAIN, StreamBroken, "closed the connection before", id="reset"),
        pytest.param(httpcore.WriteError("x"), PLAIN, StreamBroken, "closed the connection before", id="in a write"),
        pytest.param(ConnectionResetError("x"), PLAIN, StreamBroken, "closed the connection before", id="the system's"),
        pytest.param(
            httpcore.RemoteProtocolError("Server disconnected without sending a response."),
            PLAIN,
            StreamBroken,
            "closed the connection before",
            id="closed",
        ),
        pytest.param(
            httpcore.RemoteProtocolError("illegal status line: bytearray(b'SSH-2.0-OpenSSH')"),
            PLAIN,
            DaemonNotReachable,
            "does not speak HTTP: illegal status line",
            id="another protocol",
        ),
        pytest.param(
            httpcore.RemoteProtocolError("illegal request line"),
            PLAIN,
            DaemonNotReachable,
            "does not speak plain HTTP",
            id="TLS",
        ),
        pytest.param(httpcore.ProxyError("403 No"), PLAIN, DaemonNotReachable, "The proxy on the way", id="proxy"),
        pytest.param(httpcore.UnsupportedProtocol("x"), PLAIN, BadOption, "cannot be asked", id="scheme"),
        pytest.param(httpcore.LocalProtocolError("x"), PLAIN, BadOption, "cannot be asked", id="header of ours"),
        pytest.param(zlib.error("x"), PLAIN, StreamBroken, "compressed wrongly", id="gzip"),
        pytest.param(RuntimeError("x"), PLAIN, DaemonError, "failed: RuntimeError: x", id="a fault of ours"),
        pytest.param(MemoryError(), PLAIN, DaemonError, "failed: MemoryError", id="no memory"),
    ],
)
def test_what_fails_before_an_answer_is_named(
    error: Exception, address: Address, kind: type[LocalLLMError], words: str
) -> None:
    ours = from_transport(error, address, is_answered=False)

    assert type(ours) is kind
    assert words in ours.message
    assert ours.hint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(httpcore.ReadError("x"), "broke the connection", id="reset"),
        pytest.param(httpcore.RemoteProtocolError("incomplete chunked read"), "broke the connection", id="closed"),
        pytest.param(httpcore.ReadTimeout("x"), "sent nothing for too long", id="silent"),
        pytest.param(zlib.error("x"), "compressed wrongly", id="gzip"),
        pytest.param(ConnectionResetError("x"), "broke the connection", id="the system's"),
        pytest.param(ValueError("read of closed file"), "broke the connection", id="closed from our side"),
    ],
)
def test_what_fails_in_an_answer_has_broken_the_stream(error: Exception, words: str) -> None:
    ours = from_transport(error, PLAIN, is_answered=True)

    assert type(ours) is StreamBroken
    assert words in ours.message
    assert ours.hint


def test_every_error_of_the_library_is_foreseen() -> None:
    kinds = [kind for kind in vars(httpcore).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    kinds.remove(httpcore.ConnectionNotAvailable)  # which the pool catches itself

    assert len(kinds) > 10
    for kind in kinds:
        assert "Talking to" not in from_transport(kind("x"), PLAIN, is_answered=False).message


def test_messages_of_others_are_shortened() -> None:
    for error in (httpcore.RemoteProtocolError("x" * 9999), httpcore.ProxyError("x" * 9999)):
        assert len(from_transport(error, PLAIN, is_answered=False).message) < 300


def test_a_circle_of_causes_ends() -> None:
    error, cause = httpcore.ConnectError("x"), OSError("y")
    error.__cause__, cause.__cause__ = cause, error

    assert isinstance(from_transport(error, PLAIN, is_answered=False), DaemonNotReachable)


def test_a_hint_names_the_scheme_that_may_work() -> None:
    to_secure = from_transport(httpcore.RemoteProtocolError("illegal request line"), PLAIN, is_answered=False)
    to_plain = from_transport(caused(httpcore.ConnectError("x"), ssl.SSLError(1, "x")), SECURE, is_answered=False)

    assert to_secure.hint == "If it wants TLS, try https://models.example:8080/base."
    assert to_plain.hint == "Try http://models.example:8443/base."


def test_a_closed_connection_may_have_wanted_tls() -> None:
    closed = httpcore.RemoteProtocolError("Server disconnected without sending a response.")

    assert (
        "If it wants TLS, try https://models.example:8080/base."
        in from_transport(closed, PLAIN, is_answered=False).hint
    )
    assert "TLS" not in from_transport(closed, SECURE, is_answered=False).hint


def test_where_nothing_listens_the_hint_starts_a_server() -> None:
    error = caused(httpcore.ConnectError("x"), REFUSED)

    assert from_transport(error, PLAIN, is_answered=False, to_start="ollama serve").hint == "ollama serve"


@pytest.mark.parametrize("before", [0, 100, 110, 119, 120])
@pytest.mark.parametrize("kind", [httpcore.RemoteProtocolError, httpcore.ProxyError, zlib.error, RuntimeError])
def test_secrets_are_removed_before_messages_are_shortened(kind: type[Exception], before: int) -> None:
    error = kind("x" * before + "sk-secret")

    ours = from_transport(error, PLAIN, is_answered=False, redact=lambda text: text.replace("sk-secret", "…"))

    assert "xs" not in ours.message
    assert "sk" not in ours.message
