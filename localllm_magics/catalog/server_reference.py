"""References to models on servers: `ollama:NAME`, `openai:MODEL@URL`, a URL, `llamafile:PATH`."""

import re
from pathlib import Path

from localllm_magics.catalog.file_stamp import read_stamp
from localllm_magics.core.errors import BadOption, ModelNotFound
from localllm_magics.core.model_info import FileStamp, ModelInfo
from localllm_magics.engines.ollama.address import ollama_address, parse_typed_host
from localllm_magics.engines.server.address import Address

_URL = re.compile(r"https?://", re.IGNORECASE)
_HERE = re.compile(r"(localhost|[\d.]+|\[[\da-f:]+\]):\d+(/v1)?/?", re.IGNORECASE)
"""A place on this machine, or a number: what else has a colon may be the name of a model, and its tag."""
_AT_URL = re.compile(r"(?P<model>.*?)@?(?P<place>https?://.*)", re.IGNORECASE | re.DOTALL)
_HAS_PORT = re.compile(r".*:\d+(/.*)?")
_SCHEMES = ("ollama", "openai", "llamafile")


def is_served(text: str) -> bool:
    """Whether TEXT is written as a reference to a server."""
    return _is_place(text) or (":" in text and text.partition(":")[0].lower() in _SCHEMES)


def to_served(text: str, folder: Path) -> ModelInfo:
    """The model that TEXT names; nothing is asked of its server.

    Args:
        text: A reference for which `is_served` holds.
        folder: Where relative paths begin.

    Raises:
        BadOption: It has no model, or its address is none.
        ModelNotFound: There is no such llamafile.
    """
    if _is_place(text):
        address = Address.from_typed(text)
        return ModelInfo(
            reference=text, name=address.netloc, source="daemon", kind="chat", engine="openai", address=address.url
        )
    scheme, _, rest = text.partition(":")
    return {"ollama": _ollama, "openai": _openai, "llamafile": _llamafile}[scheme.lower()](text, rest.strip(), folder)


def _ollama(text: str, rest: str, _folder: Path) -> ModelInfo:
    name, place = _split(rest)
    parse = Address.from_text if _URL.match(place) else parse_typed_host
    address = parse(place) if place else ollama_address()
    if not name:
        raise BadOption(f"{text!r} names no model.", f"Type: %llm connect {address.url} to see what it has.")
    if "@" in name:
        raise BadOption(f"{text!r} has more than one @.", "Write ollama:NAME@http://127.0.0.1:11434, without a user.")
    return ModelInfo(reference=text, name=name, source="daemon", kind="chat", engine="ollama", address=address.url)


def _openai(text: str, rest: str, _folder: Path) -> ModelInfo:
    name, place = _split(rest)
    if not _URL.match(place) and not _HAS_PORT.fullmatch(place):
        raise BadOption(f"{text!r} names no server.", f"Write openai:{name or 'MODEL'}@http://127.0.0.1:8080.")
    address = Address.from_typed(place)
    return ModelInfo(reference=text, name=name, source="daemon", kind="chat", engine="openai", address=address.url)


def _is_place(text: str) -> bool:
    return bool(_URL.match(text) or _HERE.fullmatch(text))


def _split(rest: str) -> tuple[str, str]:
    """The name of a model, and the place behind its last @, or the URL."""
    at_url = _AT_URL.fullmatch(rest)
    if at_url is not None:
        return at_url["model"].strip(), at_url["place"]
    name, _, place = rest.rpartition("@") if "@" in rest else (rest, "", "")
    return name.strip(), place


def _llamafile(text: str, rest: str, folder: Path) -> ModelInfo:
    stamp = _file(folder, rest)
    if stamp is None:
        raise ModelNotFound(f"There is no file {rest or 'after llamafile:'}.", "Write llamafile:path/to/x.llamafile.")
    return ModelInfo(
        reference=text,
        name=stamp.path.stem,
        source="folder",
        path=stamp.path,
        size_bytes=stamp.size_bytes,
        kind="chat",
        engine="llamafile",
        files=(stamp,),
    )


def _file(folder: Path, text: str) -> FileStamp | None:
    """The file that TEXT names; one that is too long, forbidden or impossible is not there."""
    try:
        path = folder / Path(text).expanduser()
        return read_stamp(path) if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # the last for ~somebody whom the system does not know
        return None
