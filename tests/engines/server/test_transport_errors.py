import errno
import socket
import ssl

import httpx
import pytest

from localllm_magics.core.errors import BadOption, DaemonError, DaemonNotReachable, LocalLLMError, StreamBroken
from localllm_magics.engines.server.address import Address
from localllm_magics.engines.server.transport_errors import translated

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
            caused(httpx.ConnectError("x"), OSError("y"), REFUSED),
            PLAIN,
            DaemonNotReachable,
            "Nothing listens at http://models.example:8080/base.",
            id="refused",
        ),
        pytest.param(
            caused(httpx.ConnectError("x"), NO_HOST),
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
            caused(httpx.ConnectError("[Errno 113] No route to host"), UNREACHABLE),
            PLAIN,
            DaemonNotReachable,
            "cannot be reached: [Errno 113] No route to host.",
            id="no way there",
        ),
        pytest.param(httpx.ConnectTimeout("x"), PLAIN, DaemonNotReachable, "no connection in time", id="black hole"),
        pytest.param(httpx.ConnectTimeout("x"), SECURE, DaemonNotReachable, "no connection in time", id="no handshake"),
        pytest.param(
            caused(httpx.ConnectError("x"), ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            SECURE,
            DaemonNotReachable,
            "does not speak TLS",
            id="no TLS",
        ),
        pytest.param(httpx.PoolTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="pool"),
        pytest.param(httpx.ReadTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="silent"),
        pytest.param(httpx.WriteTimeout("x"), PLAIN, DaemonNotReachable, "does not answer", id="deaf"),
        pytest.param(httpx.ReadError("x"), PLAIN, StreamBroken, "closed the connection before", id="reset"),
        pytest.param(httpx.WriteError("x"), PLAIN, StreamBroken, "closed the connection before", id="reset in a write"),
        pytest.param(httpx.CloseError("x"), PLAIN, StreamBroken, "closed the connection before", id="reset at the end"),
        pytest.param(ConnectionResetError("x"), PLAIN, StreamBroken, "closed the connection before", id="the system's"),
        pytest.param(
            httpx.RemoteProtocolError("Server disconnected without sending a response."),
            PLAIN,
            StreamBroken,
            "closed the connection before",
            id="closed",
        ),
        pytest.param(
            httpx.RemoteProtocolError("illegal status line: bytearray(b'SSH-2.0-OpenSSH')"),
            PLAIN,
            DaemonNotReachable,
            "does not speak HTTP: illegal status line",
            id="another protocol",
        ),
        pytest.param(
            httpx.RemoteProtocolError("illegal request line"),
            PLAIN,
            DaemonNotReachable,
            "does not speak plain HTTP",
            id="TLS",
        ),
        pytest.param(httpx.ProxyError("403 No"), PLAIN, DaemonNotReachable, "The proxy on the way", id="proxy"),
        pytest.param(httpx.InvalidURL("x"), PLAIN, BadOption, "cannot be asked", id="URL"),
        pytest.param(httpx.UnsupportedProtocol("x"), PLAIN, BadOption, "cannot be asked", id="scheme"),
        pytest.param(httpx.LocalProtocolError("x"), PLAIN, BadOption, "cannot be asked", id="header of ours"),
        pytest.param(httpx.DecodingError("x"), PLAIN, StreamBroken, "packed wrongly", id="gzip"),
        pytest.param(httpx.TooManyRedirects("x"), PLAIN, StreamBroken, "closed the connection", id="redirects"),
        pytest.param(RuntimeError("x"), PLAIN, DaemonError, "failed: RuntimeError: x", id="a fault of ours"),
        pytest.param(MemoryError(), PLAIN, DaemonError, "failed: MemoryError", id="no memory"),
    ],
)
def test_what_fails_before_an_answer_is_named(
    error: Exception, address: Address, kind: type[LocalLLMError], words: str
) -> None:
    ours = translated(error, address, answered=False)

    assert type(ours) is kind
    assert words in ours.message
    assert ours.hint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(httpx.ReadError("x"), "broke the connection", id="reset"),
        pytest.param(httpx.RemoteProtocolError("incomplete chunked read"), "broke the connection", id="closed"),
        pytest.param(httpx.ReadTimeout("x"), "said nothing for too long", id="silent"),
        pytest.param(httpx.DecodingError("x"), "packed wrongly", id="gzip"),
        pytest.param(ConnectionResetError("x"), "broke the connection", id="the system's"),
        pytest.param(ValueError("read of closed file"), "broke the connection", id="closed from our side"),
    ],
)
def test_what_fails_in_an_answer_has_broken_the_stream(error: Exception, words: str) -> None:
    ours = translated(error, PLAIN, answered=True)

    assert type(ours) is StreamBroken
    assert words in ours.message
    assert ours.hint


def test_every_error_of_the_library_is_foreseen() -> None:
    def kinds(base: type[Exception]) -> set[type[Exception]]:
        return {base}.union(*(kinds(kind) for kind in base.__subclasses__()))

    # Only raised by what is never called.
    errors = kinds(httpx.RequestError) | kinds(httpx.InvalidURL)

    assert errors
    for error in errors:
        assert "Talking to" not in translated(error("x"), PLAIN, answered=False).message


def test_words_of_others_are_cut_short() -> None:
    for error in (httpx.RemoteProtocolError("x" * 9999), httpx.ProxyError("x" * 9999)):
        assert len(translated(error, PLAIN, answered=False).message) < 300


def test_a_circle_of_causes_ends() -> None:
    error, cause = httpx.ConnectError("x"), OSError("y")
    error.__cause__, cause.__cause__ = cause, error

    assert isinstance(translated(error, PLAIN, answered=False), DaemonNotReachable)


def test_a_hint_names_the_scheme_that_may_work() -> None:
    to_secure = translated(httpx.RemoteProtocolError("illegal request line"), PLAIN, answered=False)
    to_plain = translated(caused(httpx.ConnectError("x"), ssl.SSLError(1, "x")), SECURE, answered=False)

    assert to_secure.hint == "If it wants TLS, try https://models.example:8080/base."
    assert to_plain.hint == "Try http://models.example:8443/base."


def test_a_closed_connection_may_have_wanted_tls() -> None:
    closed = httpx.RemoteProtocolError("Server disconnected without sending a response.")

    assert "If it wants TLS, try https://models.example:8080/base." in translated(closed, PLAIN, answered=False).hint
    assert "TLS" not in translated(closed, SECURE, answered=False).hint


def test_how_to_start_a_server_is_told_where_nothing_listens() -> None:
    error = caused(httpx.ConnectError("x"), REFUSED)

    assert translated(error, PLAIN, answered=False, to_start="ollama serve").hint == "ollama serve"


@pytest.mark.parametrize("before", [0, 100, 110, 119, 120])
@pytest.mark.parametrize("kind", [httpx.RemoteProtocolError, httpx.ProxyError, httpx.DecodingError, RuntimeError])
def test_secrets_are_taken_out_before_words_are_cut(kind: type[Exception], before: int) -> None:
    error = kind("x" * before + "sk-secret")

    ours = translated(error, PLAIN, answered=False, redact=lambda text: text.replace("sk-secret", "…"))

    assert "xs" not in ours.message
    assert "sk" not in ours.message
