import logging
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme

from localllm_magics.core.errors import (
    BadOption,
    DaemonError,
    DaemonNotReachable,
    SetupError,
)
from tests.engines.server.connecting import FINE, KEY, failure, to
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Close, Send, Steps
from tests.server.http_bytes import http_response

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def test_an_unknown_certificate_is_refused_unless_its_authority_is_named(
    fault_server: MakeFaultServer, tls: ssl.SSLContext, authority_file: Path
) -> None:
    server = fault_server({"/a": [FINE]}, tls=tls)

    refused = failure(to(server))

    assert refused.message.startswith(f"The certificate of {server.address} is not trusted: ")
    assert "LocalLLM.ca_file" in refused.hint
    assert server.requests == []
    for url in (server.address, f"https://localhost:{server.port}"):
        assert to(url, ca_file=str(authority_file)).ask("GET", "/a").to_dict() == {"is": "fine"}


@pytest.mark.parametrize(
    ("names", "days", "words", "hint"),
    [
        pytest.param("127.0.0.1", -1, "certificate has expired", "has to be renewed", id="expired"),
        pytest.param("models.example", 1, "not valid for '127.0.0.1'", "with a name that the certificate", id="name"),
    ],
)
def test_no_authority_is_asked_for_where_none_can_help(  # noqa: PLR0913 - a table
    fault_server: MakeFaultServer,
    authority: trustme.CA,
    authority_file: Path,
    *,
    names: str,
    days: int,
    words: str,
    hint: str,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime.now(timezone.utc) + timedelta(days=days)
    authority.issue_cert(names, not_before=until - timedelta(days=9), not_after=until).configure_cert(context)
    server = fault_server({"/a": [FINE]}, tls=context)

    error = failure(to(server, ca_file=str(authority_file)))

    assert words in error.message
    assert hint in error.hint
    assert "ca_file" not in error.hint


def test_the_authorities_of_the_environment_are_trusted(
    fault_server: MakeFaultServer, tls: ssl.SSLContext, authority_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file))
    server = fault_server({"/a": [FINE]}, tls=tls)

    assert to(server).ask("GET", "/a").to_dict() == {"is": "fine"}


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_holds_no_certificates_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)

    error = failure(to("https://127.0.0.1:1", ca_file=str(path)))

    assert type(error) is SetupError
    assert str(path) in error.message


def test_tls_is_missed_on_a_plain_port(fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [FINE]})

    error = failure(to(server.address.replace("http", "https")))

    assert type(error) is DaemonNotReachable
    assert "does not speak TLS" in error.message
    assert error.hint == f"Try {server.address}."


def test_plain_http_is_refused_by_a_port_with_tls(fault_server: MakeFaultServer, tls: ssl.SSLContext) -> None:
    server = fault_server({"*": [FINE]}, tls=tls)

    error = failure(to(server.address.replace("https", "http")))

    assert "closed the connection before it answered" in error.message


def test_the_alert_of_a_port_with_tls_is_understood(fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [Send(b"\x15\x03\x03\x00\x02\x02\x46"), Close()]})

    error = failure(to(server))

    assert (type(error), error.message) == (DaemonNotReachable, f"{server.address} does not speak plain HTTP.")
    assert server.address.replace("http", "https") in error.hint


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9", "nonsense://", "http://[::1"])
def test_no_proxy_matters_to_this_machine(
    variable: str, proxy: str, fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    server = fault_server({"/a": [FINE]})

    assert to(server).ask("GET", "/a").status == 200


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_other_machines_are_asked_through_the_proxy(
    variable: str, scheme: str, fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = fault_server({"*": [FINE]})
    monkeypatch.setenv(variable, proxy.address.replace("http://", scheme))

    assert to("http://models.invalid:81").ask("GET", "/a").status == 200
    assert proxy.requests[0].headers["host"] == "models.invalid:81"


def test_the_environment_may_exempt_a_host_from_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "models.invalid")

    assert failure(to("http://models.invalid")).message == "There is no host models.invalid."


@pytest.mark.parametrize("url", ["http://models.invalid", "https://models.invalid"])
@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param("http://127.0.0.1:9", id="nothing listens"),
        pytest.param("http://me:hunter2@127.0.0.1:9", id="nothing listens, with a password"),
        pytest.param("socks5h://me:hunter2@127.0.0.1:9", id="SOCKS"),
        pytest.param("nonsense://me:hunter2@h", id="unknown"),
        pytest.param("http://me:hunter2@[::1", id="no URL"),
    ],
)
def test_a_broken_proxy_is_reported_without_its_password(url: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    error = failure(to(url))

    assert isinstance(error, SetupError | DaemonNotReachable)
    assert "proxy" in error.message
    assert "NO_PROXY" in error.hint
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        pytest.param([Send(http_response(403)), Close()], DaemonNotReachable, id="refuses"),
        pytest.param([Close()], DaemonError, id="closes"),
        pytest.param([Send(b"nonsense\r\n\r\n"), Close()], DaemonError, id="is none"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_reported(
    steps: Steps, kind: type[DaemonError], fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = fault_server({"*": steps})
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)

    error = failure(to("https://models.invalid", KEY))

    assert isinstance(error, kind)
    assert "authorization" not in proxy.requests[0].headers


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "a\x7f", "a\x00b", "“sk-1”"])
def test_a_key_that_no_header_can_carry_is_refused(key: str, fault_server: MakeFaultServer) -> None:
    server = fault_server({"*": [FINE]})

    error = failure(to(server, key))

    assert type(error) is BadOption
    assert key not in str(error)
    assert server.requests == []


def test_the_key_is_in_no_log_and_no_repr(fault_server: MakeFaultServer, caplog: pytest.LogCaptureFixture) -> None:
    server = fault_server({"/a": [FINE]})
    connection = to(server, KEY)

    with caplog.at_level(logging.DEBUG):
        connection.ask("POST", "/a", {"a": 1})

    assert KEY not in caplog.text
    assert repr(connection) == f"<Connection to {server.address}>"
    assert connection.redact(f"a {KEY} b") == "a … b"
    assert to(server).redact(KEY) == KEY


@pytest.mark.parametrize("said", [f"{KEY}\r\n\r\n", f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n"])
def test_a_server_that_echoes_the_key_gets_it_into_no_message(said: str, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/a": [Send(said.encode()), Close()]})

    assert KEY not in str(failure(to(server, KEY)))
