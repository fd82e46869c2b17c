"""Links to models that are to be downloaded, which people take for addresses of servers."""

import re
import shlex

from localllm_magics.core.errors import BadOption

_FILE = re.compile(r"\.(gguf|llamafile|safetensors|bin|zip)\Z", re.IGNORECASE)
_HUGGING_FACE = re.compile(r"(www\.)?(huggingface\.co|hf\.co)", re.IGNORECASE)
_OLLAMA = re.compile(r"((www\.)?ollama\.com|registry\.ollama\.ai)", re.IGNORECASE)


def download_error(origin: str, host: str, path: str) -> BadOption | None:
    """The error for the link ORIGIN + PATH to a model on HOST; None where it can be the address of a server."""
    link = f"{origin}{path}"
    if _FILE.search(path):
        name = path.rpartition("/")[2]
        reference = f"llamafile:{name}" if name.lower().endswith(".llamafile") else name
        to_get = f"!curl -LO {shlex.quote(link.replace('/blob/', '/resolve/'))}"
        return _to_download(link, "a file", f"Download it, then load the file: {to_get}  and  %llm load {reference}")
    names = path.strip("/").split("/")
    if _OLLAMA.fullmatch(host) and names != [""]:
        name = "/".join(names[:2]).removeprefix("library/")
        return _to_download(link, "a page about a model", f"Have Ollama download it: %llm pull ollama:{name}")
    if _HUGGING_FACE.fullmatch(host):
        name = "/".join(names[:2]) or "USER/REPOSITORY"
        hint = (
            f"Download one of its GGUF files and load that, or have Ollama download it: %llm pull ollama:hf.co/{name}"
        )
        return _to_download(link, "a page about models", hint)
    return None


def _to_download(link: str, what: str, hint: str) -> BadOption:
    return BadOption(f"{link} is {what} to download, and no server; nothing was sent there.", hint)
