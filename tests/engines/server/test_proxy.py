"""Which hosts are reached without the proxy of the environment, as curl and Go read NO_PROXY."""

import traceback

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import AccessDenied, LocalLLMError
from localllm_magics.engines.server.proxy import find_proxy, is_exempt, proxy_denial, proxy_login
from localllm_magics.engines.server.server_error import ErrorContext, raise_for_status
from tests.engines.server.connecting import to
from tests.server.conftest import MakeFaultServer
from tests.server.faults import Close, Send
from tests.server.http_bytes import http_response


@pytest.mark.parametrize(
    ("host", "listed", "is_one"),
    [
        pytest.param("example.com", "example.com", True, id="a name"),
        pytest.param("models.example.com", "example.com", True, id="below a name"),
        pytest.param("notexample.com", "example.com", False, id="a name that ends alike"),
        pytest.param("example.com", ".example.com", True, id="a leading dot"),
        pytest.param("a.b.example.com", "*.example.com", True, id="an asterisk"),
        pytest.param("Example.COM.", "eXample.com.", True, id="case, and dots at the end"),
        pytest.param("box7", "a, b box7", True, id="in a list"),
        pytest.param("h:81", "h:81", True, id="a port"),
        pytest.param("h:82", "h:81", False, id="another port"),
        pytest.param("h", "*", True, id="everything"),
        pytest.param("h", "", False, id="nothing"),
        pytest.param("h", ". , ,", False, id="only dots"),
        pytest.param("10.1.2.3", "10.0.0.0/8", True, id="a network"),
        pytest.param("10.1.2.3:5", "10.9.9.9/8:5", True, id="a network with a port"),
        pytest.param("11.1.2.3", "10.0.0.0/8", False, id="another network"),
        pytest.param("10.1.2.3", "10.1.2.3", True, id="an address"),
        pytest.param("10.1.2.3", "2.3, .3", False, id="the end of an address"),
        pytest.param("h", "10.0.0.0/8", False, id="a name and a network"),
        pytest.param("[fd00::1]", "fd00::/8", True, id="a network, IPv6"),
        pytest.param("[fd00::1]", "fd00:0::1", True, id="IPv6, written otherwise"),
        pytest.param("[fd00::1]:7", "[fd00::1]:7", True, id="IPv6 with a port"),
        pytest.param("[fd00::1]:8", "[fd00::1]:7", False, id="IPv6 with another port"),
        pytest.param("[fe80::1%eth0]", "fe80::/10", True, id="IPv6 with a zone"),
    ],
)
def test_hosts_are_exempt_as_listed(host: str, listed: str, is_one: bool) -> None:
    assert is_exempt(Address.from_text(f"http://{host}"), listed) == is_one


def test_an_exempt_host_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")

    assert find_proxy(Address.from_text("http://10.1.2.3")) is None
    assert find_proxy(Address.from_text("http://11.1.2.3")) is not None


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param("http://me:hunter2@127.0.0.1:9", id="nothing listens"),
        pytest.param("http://me:hunter2@h:port", id="no port"),
        pytest.param("http://me:hunt#er2@h:1", id="a password that is not encoded"),
        pytest.param("http://me:hunter2@[::1", id="half a bracket"),
        pytest.param("nonsense://me:hunter2@h", id="another scheme"),
        pytest.param("socks5://me:hunter2@127.0.0.1:9", id="SOCKS"),
    ],
)
def test_no_traceback_holds_the_password_of_a_proxy(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    with pytest.raises(LocalLLMError) as caught:
        to("http://models.invalid").ask("GET", "/a")

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    words = "".join(line for line in shown.format() if "monkeypatch" not in line)
    assert "hunter2" not in words
    assert "'hunt'" not in words


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_named_and_not_the_server(
    scheme: str, fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = http_response(407, {"X-Echo": "Basic bWU6aHVudGVycHc="}, b"no me:hunterpw, no bWU6aHVudGVycHc=")
    proxy = fault_server({"*": [Send(refusal), Close()]})
    place = f"127.0.0.1:{proxy.port}"
    monkeypatch.setenv("ALL_PROXY", f"http://me:hunterpw@{place}")
    connection = to(f"{scheme}://models.invalid")
    context = ErrorContext(address=connection.address, model="m", to_get_model="", redact=connection.redact)

    with pytest.raises(AccessDenied) as caught:
        raise_for_status(connection.ask("GET", "/a"), context)

    start = f"The proxy {place} on the way to {connection.address.url} wants a user and a password"
    assert caught.value.message.startswith(start)
    assert caught.value.hint.endswith(f"export {scheme}_proxy=http://USER:PASSWORD@{place}")
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    words = "".join(line for line in shown.format() if "refusal" not in line)
    assert "hunterpw" not in words
    assert "bWU6aHVudGVycHc" not in words


@pytest.mark.parametrize(
    ("proxy", "place"),
    [("http://[::1]:3128", "[::1]:3128"), ("http://proxy", "proxy")],
    ids=["IPv6", "without a port"],
)
def test_a_proxy_is_named_as_it_is_typed(proxy: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)

    error = proxy_denial(Address.from_text("http://models.invalid"), "no")

    assert error is not None
    assert error.message.startswith(f"The proxy {place} on")


@pytest.mark.parametrize(
    ("proxy", "login"),
    [("http://me:a%40b@h:1", "me:a@b"), ("http://h:1", ""), ("nonsense://me:hunter2@h", "")],
    ids=["a password", "none", "unusable"],
)
def test_the_login_of_a_proxy_is_known_where_it_is_sent(
    proxy: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    assert proxy_login(Address.from_text("http://models.invalid")) == login
    assert proxy_login(Address.from_text("http://127.0.0.1:9")) == ""
