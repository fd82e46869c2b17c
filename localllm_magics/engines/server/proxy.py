"""The proxy that the environment names."""

import importlib.util
import ipaddress
import re
import urllib.request
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import httpcore

from localllm_magics.core.address import Address
from localllm_magics.core.errors import AccessDenied, SetupError
from localllm_magics.engines.server.transport_errors import BYPASS_PROXY

_SCHEMES = ("http", "https", "socks5", "socks5h")
_PORT = re.compile(r"(\[.*\]|[^:]*):(\d{1,5})")


def find_proxy(address: Address) -> httpcore.Proxy | None:
    """The proxy on the way to ADDRESS; there is none to this machine's own servers.

    Raises:
        SetupError: It cannot be used.
    """
    if address.is_loopback:
        return None
    proxies = urllib.request.getproxies()
    # Without variables, the system's settings count.
    is_system = not urllib.request.getproxies_environment()
    if is_exempt(address, proxies.get("no", "")) or (is_system and urllib.request.proxy_bypass(address.host)):
        return None
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url:
        return None
    try:
        return _to_proxy(url if "://" in url else f"http://{url}")
    except ValueError as exc:
        raise SetupError(f"The proxy of the environment cannot be used: {exc}.", BYPASS_PROXY) from None


def proxy_login(address: Address) -> str:
    """`USER:PASSWORD` for the proxy on the way to ADDRESS; empty where there is none."""
    with suppress(SetupError):
        proxy = find_proxy(address)
        if proxy is not None and proxy.auth is not None:
            return b":".join(proxy.auth).decode()
    return ""


def proxy_denial(address: Address, message: str) -> AccessDenied | None:
    """The error of a status 407 with MESSAGE, if there is a proxy on the way to ADDRESS."""
    proxy = find_proxy(address)
    if proxy is None:
        return None
    host, port = proxy.url.host.decode(), proxy.url.port
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return AccessDenied(
        f"The proxy {place} on the way to {address.url} wants a user and a password, or others (status 407): {message}",
        f"Set them in a terminal before Jupyter starts: export {address.scheme}_proxy=http://USER:PASSWORD@{place}",
    )


def is_exempt(address: Address, listed: str) -> bool:
    """Whether ADDRESS is LISTED, as curl and Go read NO_PROXY.

    Names cover their subdomains, with a dot or `*.` before them or not; addresses may be networks (`10.0.0.0/8`); each
    may have a port; and `*` is everything.
    """
    return any(_covers(entry, address) for entry in re.split(r"[,\s]+", listed) if entry)


def _covers(entry: str, address: Address) -> bool:
    if entry == "*":
        return True
    with_port = _PORT.fullmatch(entry)
    entry, port = with_port.groups() if with_port else (entry, str(address.port))
    if int(port) != address.port:
        return False
    host = address.host.partition("%")[0].lower().rstrip(".")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = entry.lower().removeprefix("*").strip(".")
        return name != "" and f".{host}".endswith(f".{name}")
    with suppress(ValueError):
        return ip in ipaddress.ip_network(re.sub(r"[\[\]]", "", entry), strict=False)
    return False


def _to_proxy(url: str) -> httpcore.Proxy:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        # Its own words may hold a part of a password.
        raise ValueError("its URL cannot be read, perhaps for characters that have to be encoded") from None
    if parts.scheme not in _SCHEMES or not host:
        raise ValueError(f"its URL does not begin with {', '.join(_SCHEMES)} and a host")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ValueError("for SOCKS the package socksio has to be installed")
    user, password = (unquote(part or "").encode() for part in (parts.username, parts.password))
    return httpcore.Proxy(
        httpcore.URL(scheme=parts.scheme, host=host, port=port, target="/"),
        auth=(user, password) if user else None,
    )
