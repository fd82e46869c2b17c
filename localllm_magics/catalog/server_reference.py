"""References to models on servers: `ollama:NAME`, `openai:MODEL@URL`, a URL, `llamafile:PATH`."""

import os
import re
from pathlib import Path

from localllm_magics.core.address import Address, hide_login, login_error
from localllm_magics.core.download_link import is_model_page
from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.file_stamp import broken_link, read_stamp
from localllm_magics.engines.ollama.address import ollama_address, parse_typed_host
from localllm_magics.engines.served_models import ollama_model, openai_model

_OPENING = r"""[<("'`]{0,3}"""
_URL = re.compile(rf"{_OPENING}https?://", re.IGNORECASE)
_LOCAL_OR_IP = re.compile(r"(localhost|[\d.]+|\[[\da-f:]+\]):\d+(/\S*)?", re.IGNORECASE)
"""Host and port without a scheme; anything else with a colon may be the name of a model and its tag."""
_MODEL_AT_URL = re.compile(rf"(?P<model>.*?)@?{_OPENING}(?P<url>https?://.*)", re.IGNORECASE | re.DOTALL)
_HAS_PORT = re.compile(r".*:\d+(/.*)?")
_SCHEMES = ("ollama", "openai", "llamafile")


def is_server_reference(text: str, folder: Path = Path()) -> bool:
    """Whether TEXT has the form of a reference to a server, and is no file in FOLDER."""
    return _is_address(text, folder) or has_scheme(text)


def has_scheme(text: str) -> bool:
    """Whether TEXT begins with `ollama:`, `openai:` or `llamafile:`; a machine may have that name, too."""
    return ":" in text and text.partition(":")[0].lower() in _SCHEMES


def resolve_server_reference(text: str, folder: Path) -> ModelInfo:
    """The model that TEXT names; no server is asked.

    Args:
        text: A reference for which `is_server_reference` holds.
        folder: Where relative paths begin.

    Raises:
        BadOption: It names no model, or its address is invalid.
        ModelNotFound: There is no such llamafile.
    """
    if _is_address(text, folder):
        address = Address.from_typed(text)
        return openai_model(address.netloc, address, text)
    scheme, _, rest = text.partition(":")
    return {"ollama": _ollama, "openai": _openai, "llamafile": _llamafile}[scheme.lower()](text, rest.strip(), folder)


def _ollama(text: str, rest: str, _folder: Path) -> ModelInfo:
    name, host = _split_model(rest)
    parse = Address.from_text if _URL.match(host) else parse_typed_host
    address = parse(host) if host else ollama_address()
    if not name:
        raise BadOption(f"{text!r} names no model.", f"Type: %llm connect {address.url} to see what it has.")
    if "@" in name:
        raise BadOption(
            f"{hide_login(text)!r} has more than one @.", "Write ollama:NAME@http://127.0.0.1:11434, without a user."
        )
    return ollama_model(name, address, text)


def _openai(text: str, rest: str, _folder: Path) -> ModelInfo:
    name, host = _split_model(rest)
    if not _URL.match(host) and not _HAS_PORT.fullmatch(host):
        to_write = (
            f"http://{name}" if _LOCAL_OR_IP.fullmatch(name) else f"openai:{name or 'MODEL'}@http://127.0.0.1:8080"
        )
        raise BadOption(f"{text!r} names no server.", f"Write {to_write}.")
    address = Address.from_typed(host)
    if hide_login(text) != text:
        raise login_error()
    return openai_model(name, address, text)


def _is_address(text: str, folder: Path) -> bool:
    if _URL.match(text):
        return True
    if os.path.isfile(folder / text):  # noqa: PTH113 - unlike Path's, it accepts any text
        return False
    if is_model_page(text) or hide_login(text).startswith("…"):
        return True
    # With a path that is not an endpoint's, it may be the name of a model in a registry.
    return bool(_LOCAL_OR_IP.fullmatch(text)) and not Address.from_typed(text).path


def _split_model(rest: str) -> tuple[str, str]:
    """The name of a model, and the URL or the host and port after its last @."""
    at_url = _MODEL_AT_URL.fullmatch(rest)
    if at_url is not None:
        return at_url["model"].strip(), at_url["url"]
    name, _, host = rest.rpartition("@") if "@" in rest else (rest, "", "")
    return name.strip(), host


def _llamafile(text: str, rest: str, folder: Path) -> ModelInfo:
    path = folder / os.path.expanduser(rest)  # noqa: PTH111 - unlike Path's, it accepts ~ with an unknown user
    stamp = read_stamp(path) if os.path.isfile(path) else None  # noqa: PTH113 - unlike Path's, it accepts any text
    if stamp is None:
        missing = broken_link(path, rest) or f"There is no file {rest or 'after llamafile:'}."
        raise ModelNotFound(missing, "Write llamafile:path/to/x.llamafile.")
    return ModelInfo(
        reference=text,
        name=path.stem,
        source="folder",
        path=path,
        size_bytes=stamp.size_bytes,
        kind="chat",
        engine="llamafile",
        files=(stamp,),
    )
