"""Links to models that are to be downloaded, which people take for addresses of servers."""

import re
import shlex
from urllib.parse import unquote

from localllm_magics.core.errors import BadOption
from localllm_magics.core.hints import LIST_MODELS

_ENDINGS = (
    r"(gguf|llamafile|safetensors)([.-][\w.-]*)?"  # also of a part: x.gguf.part, x.gguf-split-a
    r"|bin|ggml|pth?|ckpt|onnx|h5|keras|mlmodel|tflite|litertlm|np[yz]|pkl|pickle|msgpack"
    r"|zip|7z|rar|tar|t?gz|t?xz|tbz|bz2|t?zst|exe|msi|dmg|appimage|deb|rpm|whl|iso|part|crdownload"
)
_FILE = re.compile(rf"\.({_ENDINGS})\Z", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[?&=#;]")
_BEFORE_NAME = re.compile(r"""[/\\"'\x00-\x1f\x7f]""")
_BEHIND_NAME = " \"'`)>/,."
_LONGEST_NAME = 255
_FILES_OF_HUGGING_FACE = re.compile(r"(cdn-lfs[\w-]*|([\w-]+\.)?xethub)\.(huggingface|hf)\.co", re.IGNORECASE)
"""Where links of Hugging Face lead; their paths name nothing."""
_HUBS = {
    "hf.co": re.compile(
        rf"(www\.)?(huggingface\.co|hf\.co|hf-mirror\.com)|{_FILES_OF_HUGGING_FACE.pattern}", re.IGNORECASE
    ),
    "modelscope.cn": re.compile(r"(www\.)?modelscope\.(cn|ai)", re.IGNORECASE),
}
"""Where models are, by what Ollama calls it; their servers that answer questions have other names."""
_NAMES = {"hf.co": "Hugging Face", "modelscope.cn": "ModelScope"}
_REPOSITORY = re.compile(r"((?P<host>[^/]+)/)?(?P<name>\w[\w.-]*/\w[\w.-]*(:[\w.-]+)?)", re.ASCII)
_OLLAMA = re.compile(r"((www\.)?ollama\.com|registry\.ollama\.ai)", re.IGNORECASE)
_PAGE = re.compile(r"(www\.)?ollama\.com/|(?P<hub>[^/]+)(/[^/\s]+){3}", re.IGNORECASE)
_LISTS = {"library", "search"}
_PARTS_OF_NAME = 2


def download_error(origin: str, host: str, path: str, typed: str = "") -> BadOption | None:
    """The error for a link to a model; None where it can be the address of a server.

    Args:
        origin: The link without its path.
        host: Where it leads.
        path: The path, without the endpoint of a server at its end.
        typed: Path, query and fragment as they were typed.
    """
    if name := _file_name(path):
        return _to_file(f"{origin}{path}", name, is_in_path=path.endswith(name))
    if name := _file_name(typed):
        return _to_file(f"{origin}{typed}", name, is_in_path=False)
    return _page_error(f"{origin}{path}", host, list(filter(None, path.split("/"))))


def is_model_page(text: str) -> bool:
    """Whether TEXT is a link without its scheme; a shorter one, such as hf.co/user/repository, is a name in Ollama."""
    page = _PAGE.match(text)
    return page is not None and (page["hub"] is None or bool(_hub(page["hub"])))


def repository_hint(text: str) -> str:
    """How to get the models of the repository that TEXT may name; empty where it can name none."""
    names = _REPOSITORY.fullmatch(text)
    if names is None or (names["host"] and not _hub(names["host"])):
        return ""
    if not names["host"]:  # or a path with an error
        return f"{LIST_MODELS} If it is a repository of {_NAMES['hf.co']}: {_to_pull('hf.co/' + names['name'])}"
    hub = _hub(names["host"])
    return f"This is a repository of {_NAMES[hub]}. {_to_pull(hub + '/' + names['name'])}"


def _file_name(link: str) -> str:
    """The name of a file at the end of LINK's path, or of a value in its query; empty where there is none."""
    values = (value.rstrip(_BEHIND_NAME) for value in _VALUE.split(unquote(link)))
    names = (_BEFORE_NAME.split(value)[-1][-_LONGEST_NAME:] for value in values)
    return next((name for name in names if _FILE.search(name)), "")


def _page_error(link: str, host: str, names: list[str]) -> BadOption | None:
    """The error for LINK to a page with NAMES in its path; None where HOST has no models to download."""
    if _OLLAMA.fullmatch(host) and names:
        name = "/".join(names[1:2] if names[0] in _LISTS else names[:_PARTS_OF_NAME]) or "NAME"
        return _to_download(link, "a page about a model", f"Have Ollama download it: %llm pull ollama:{name}")
    if hub := _hub(host):
        start = 1 if names[:1] == ["models"] else len(names) if _FILES_OF_HUGGING_FACE.fullmatch(host) else 0
        name = "/".join(names[start : start + _PARTS_OF_NAME]) or "USER/REPOSITORY"
        return _to_download(link, "a page about models", _to_pull(f"{hub}/{name}"))
    return None


def _to_pull(name: str) -> str:
    return f"Download one of its GGUF files and load that, or have Ollama download it: %llm pull ollama:{name}"


def _hub(host: str) -> str:
    """What Ollama calls the hub on HOST, or nothing."""
    return next((hub for hub, pattern in _HUBS.items() if pattern.fullmatch(host)), "")


def _to_file(link: str, name: str, *, is_in_path: bool) -> BadOption:
    """The error for LINK to the file NAME, which IS_IN_PATH as it is, so that curl takes it from there."""
    output = "-LO" if is_in_path else f"-L -o {shlex.quote(name)}"
    to_get = f"!curl {output} {shlex.quote(link.replace('/blob/', '/resolve/'))}"
    hint = f"Download it: {to_get}  Of such files, only GGUF files and llamafiles can be loaded."
    if ending := re.search(r"\.(gguf|llamafile)\Z", name, re.IGNORECASE):
        scheme = "llamafile:" if ending[1].lower() == "llamafile" else ""
        hint = f"Download it, then load the file: {to_get}  and  %llm load {shlex.quote(f'{scheme}{name}')}"
    if "?" in link:
        hint += "  If a server is meant, leave out what follows the question mark."
    return _to_download(link, "a file", hint)


def _to_download(link: str, what: str, hint: str) -> BadOption:
    return BadOption(f"{link} is {what} to download, and no server; nothing was sent there.", hint)
