"""The proxy that the environment names."""

import importlib.util
import urllib.request
from urllib.parse import unquote, urlsplit

import httpcore

from localllm_magics.core.address import Address
from localllm_magics.core.errors import SetupError
from localllm_magics.engines.server.transport_errors import BYPASS_PROXY

_SCHEMES = ("http", "https", "socks5", "socks5h")


def find_proxy(address: Address) -> httpcore.Proxy | None:
    """The proxy on the way to ADDRESS; there is none to this machine's own servers.

    Raises:
        SetupError: It cannot be used.
    """
    if address.is_loopback or urllib.request.proxy_bypass(address.host):
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url:
        return None
    try:
        return _to_proxy(url if "://" in url else f"http://{url}")
    except ValueError as exc:
        raise SetupError(f"The proxy of the environment cannot be used: {exc}.", BYPASS_PROXY) from exc


def _to_proxy(url: str) -> httpcore.Proxy:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"its URL does not begin with {', '.join(_SCHEMES)} and a host")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ValueError("for SOCKS the package socksio has to be installed")
    user, password = (unquote(part or "").encode() for part in (parts.username, parts.password))
    return httpcore.Proxy(
        httpcore.URL(scheme=parts.scheme, host=parts.hostname.encode("idna"), port=parts.port, target="/"),
        auth=(user, password) if user else None,
    )
