"""Where Ollama listens."""

import os
import re
from collections.abc import Mapping

from localllm_magics.core.address import PORTS, Address

DEFAULT_PORT = 11434


def ollama_address(environment: Mapping[str, str] = os.environ) -> Address:
    """Where Ollama listens, by the environment, or by default."""
    return parse_host(environment.get("OLLAMA_HOST", ""))


def parse_host(text: str) -> Address:
    """An address as Ollama reads its variable OLLAMA_HOST: `[scheme://]host[:port][/path]`.

    Source: envconfig/config.go of Ollama 0.33.
    """
    scheme, separator, rest = text.strip().strip("\"'").strip().partition("://")
    if not separator:
        rest = scheme
        scheme = "https" if rest.partition("/")[0] == "ollama.com" else ""
    netloc, _, path = rest.partition("/")
    # A password, which Ollama itself could not use, is neither sent nor shown.
    host, port = _split_port(netloc.rpartition("@")[2], PORTS.get(scheme, DEFAULT_PORT))
    return Address.from_parts(scheme if scheme in PORTS else "http", host or "127.0.0.1", port, f"/{path}")


def parse_typed_host(text: str) -> Address:
    """As `parse_host`, which accepts every text.

    Raises:
        BadOption: TEXT is no address.
    """
    return parse_host(re.split("[?#]", text)[0]).require_host(text)


def _split_port(netloc: str, default: int) -> tuple[str, int]:
    """Host without brackets, and port; a port that cannot be is ignored, as Ollama does."""
    if netloc.startswith("["):
        host, _, rest = netloc[1:].partition("]")
        digits = rest.removeprefix(":")
    elif netloc.count(":") > 1:  # IPv6 without brackets has no port
        host, digits = netloc, ""
    else:
        host, _, digits = netloc.partition(":")
    number = int(digits) if digits.isascii() and digits.isdigit() else -1
    return host, number if 0 < number < 65536 else default
