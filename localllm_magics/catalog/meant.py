"""What may be meant by a text that names no model and no file."""

import re

from localllm_magics.core.download_link import repository_hint

_MODEL_AT_URL = re.compile(r"((?P<scheme>openai|ollama)/)?(?P<model>[^@\s]+)@(?P<url>https?://[^@\s]+)", re.IGNORECASE)
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/+(?P<server>[^/?#@\s]+:\d+(/[^@\s]*)?)", re.IGNORECASE)
_PATH = re.compile(r"[.~]|.*\.(gguf|llamafile)\Z", re.IGNORECASE)


def meant(text: str) -> str:
    """A hint at how to write what TEXT may mean, or nothing."""
    if at_url := _MODEL_AT_URL.fullmatch(text):
        scheme = (at_url["scheme"] or "openai").lower()
        return f"To ask a model of a server, write {scheme}:{at_url['model']}@{at_url['url']}"
    if url := _URL.fullmatch(text):
        scheme = "https" if url["scheme"].lower() == "https" else "http"
        return f"To ask a server, write {scheme}://{url['server']}"
    return "" if _PATH.match(text) else repository_hint(text)
