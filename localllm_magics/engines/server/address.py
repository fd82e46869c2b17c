"""Where a server is: from what a user or the environment writes to a URL."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from localllm_magics.core.errors import BadOption
from localllm_magics.engines.server.settings import KEY_VARIABLE

OLLAMA_PORT = 11434
_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "Write it like http://127.0.0.1:8080."
_OWN = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_HOST = re.compile(r"[^\s/?#@\\:%\x00-\x20]+(%[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's place; HOST has no brackets, PATH no slash at its end.

    A server that binds every interface (`0.0.0.0`, `::`) is reached on this machine's own, and so is `localhost`,
    which most servers mean as 127.0.0.1; for TLS the name is kept, as a certificate may hold nothing else.

    Args:
        is_localhost: It was written as `localhost`, so that `::1` may be meant.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    is_localhost: bool = field(default=False, compare=False)

    @classmethod
    def from_text(cls, text: str) -> "Address":
        """An address from a URL; a path that ends in `/v1` is that of its parent.

        Raises:
            BadOption: It is no URL of a server.
        """
        if "@" in text:  # looked for first, so that no message shows a password
            raise BadOption(
                "An address holds no user and no password: it would be saved in the notebook.",
                f"Put the key into the environment variable {KEY_VARIABLE}.",
            )
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError as exc:
            raise BadOption(f"{text!r} is no address: {exc}.", _EXAMPLE) from exc
        if parts.scheme not in _PORTS or not _HOST.fullmatch((parts.hostname or "").replace(":", ".")) or port == 0:
            raise BadOption(f"{text!r} is no address of a server.", _EXAMPLE)
        if parts.query or parts.fragment:
            raise BadOption("An address of a server ends with its path, without ? and #.", _EXAMPLE)
        path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls._to(parts.scheme, parts.hostname or "", port or _PORTS[parts.scheme], path)

    @classmethod
    def from_typed(cls, text: str) -> "Address":
        """An address from a URL whose `http://` may be left out.

        Raises:
            BadOption: It is no URL of a server.
        """
        return cls.from_text(text if "://" in text else f"http://{text}")

    @classmethod
    def from_ollama_host(cls, text: str) -> "Address":
        """An address as Ollama reads its variable OLLAMA_HOST: `[scheme://]host[:port][/path]`.

        Source: envconfig/config.go of Ollama 0.33.
        """
        scheme, separator, rest = text.strip().strip("\"'").strip().partition("://")
        if not separator:
            scheme, rest = "http", scheme
            default = 443 if rest.partition("/")[0] == "ollama.com" else OLLAMA_PORT
            scheme = "https" if default == _PORTS["https"] else scheme
        else:
            default = _PORTS.get(scheme, OLLAMA_PORT)
        place, _, path = rest.partition("/")
        # A password, which Ollama itself could not use, is neither sent nor shown.
        host, port = _split_port(place.rpartition("@")[2], default)
        known = scheme if scheme in _PORTS else "http"
        return cls._to(known, host or "127.0.0.1", port, f"/{path}".rstrip("/"))

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{self.scheme}://{self.place}{self.path}"

    @property
    def place(self) -> str:
        """Host and port."""
        host = "localhost" if self.is_localhost else f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy can help."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return f".{self.host.lower()}".rstrip(".").endswith(".localhost")

    @property
    def alternatives(self) -> tuple["Address", ...]:
        """This address, then another one to try where it refuses: some servers bind `localhost` as `::1`."""
        if not self.is_localhost:
            return (self,)
        return tuple(replace(self, host=host, is_localhost=False) for host in (self.host, "::1"))

    def __str__(self) -> str:
        return self.url

    @classmethod
    def _to(cls, scheme: str, host: str, port: int, path: str) -> "Address":
        """The address to connect to for a HOST as it is written."""
        name = host.lower().rstrip(".")
        is_localhost = name == "localhost" and scheme == "http"
        known = "127.0.0.1" if is_localhost else _OWN.get(name, host)
        return cls(scheme, known, port, path, is_localhost)


def ollama_address(environment: Mapping[str, str] = os.environ) -> Address:
    """Where Ollama listens, as the environment says, else where it does by default."""
    return Address.from_ollama_host(environment.get("OLLAMA_HOST", ""))


def _split_port(place: str, default: int) -> tuple[str, int]:
    """Host without brackets, and port; a port that cannot be is ignored, as Ollama does."""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        digits = rest.removeprefix(":")
    elif place.count(":") > 1:  # IPv6 without brackets has no port
        host, digits = place, ""
    else:
        host, _, digits = place.partition(":")
    number = int(digits) if digits.isascii() and digits.isdigit() else -1
    return host, number if 0 < number < 65536 else default
