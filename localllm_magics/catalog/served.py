"""References to models on servers: `ollama:NAME`, `openai:MODEL@URL`, a URL, `llamafile:PATH`."""

import re
from pathlib import Path

from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.daemon.address import Address, ollama_address

_URL = re.compile(r"https?://", re.IGNORECASE)
_AT_URL = re.compile(r"(?P<model>.*?)@?(?P<url>https?://.*)", re.IGNORECASE | re.DOTALL)
_SCHEMES = ("ollama", "openai", "llamafile")


def is_served(text: str) -> bool:
    """Whether TEXT is written as a reference to a server."""
    return bool(_URL.match(text)) or (":" in text and text.partition(":")[0].lower() in _SCHEMES)


def to_served(text: str, folder: Path) -> ModelInfo:
    """The model that TEXT names; nothing is asked of its server.

    Args:
        text: A reference for which `is_served` holds.
        folder: Where relative paths begin.

    Raises:
        BadOption: It has no model, or its address is none.
        ModelNotFound: There is no such llamafile.
    """
    if _URL.match(text):
        address = Address.from_text(text)
        return ModelInfo(
            reference=text, name=address.place, source="daemon", kind="chat", engine="openai", address=address.url
        )
    scheme, _, rest = text.partition(":")
    return {"ollama": _ollama, "openai": _openai, "llamafile": _llamafile}[scheme.lower()](text, rest.strip(), folder)


def _ollama(text: str, rest: str, _folder: Path) -> ModelInfo:
    at_url = _AT_URL.fullmatch(rest)
    name, _, place = rest.rpartition("@") if "@" in rest else (rest, "", "")
    if at_url is not None:
        name, address = at_url["model"], Address.from_text(at_url["url"])
    else:
        address = Address.from_ollama_host(place) if place else ollama_address()
    name = name.strip()
    if not name:
        raise BadOption(f"{text!r} names no model.", f"Type: %llm connect {address.url} to see what it has.")
    return ModelInfo(reference=text, name=name, source="daemon", kind="chat", engine="ollama", address=address.url)


def _openai(text: str, rest: str, _folder: Path) -> ModelInfo:
    at_url = _AT_URL.fullmatch(rest)
    if at_url is None:
        raise BadOption(f"{text!r} names no server.", f"Write openai:{rest or 'MODEL'}@http://127.0.0.1:8080.")
    address, name = Address.from_text(at_url["url"]), at_url["model"].strip()
    return ModelInfo(reference=text, name=name, source="daemon", kind="chat", engine="openai", address=address.url)


def _llamafile(text: str, rest: str, folder: Path) -> ModelInfo:
    path = folder / Path(rest).expanduser()
    try:
        is_there = bool(rest) and path.is_file()
    except (OSError, ValueError):
        is_there = False
    if not is_there:
        raise ModelNotFound(f"There is no file {rest or 'after llamafile:'}.", "Write llamafile:path/to/x.llamafile.")
    return ModelInfo(
        reference=text,
        name=path.stem,
        source="folder",
        path=path,
        size_bytes=path.stat().st_size,
        kind="chat",
        engine="llamafile",
    )
