"""The names that Ollama gives models: `[host/][namespace/]model[:tag]`."""

import re
from dataclasses import dataclass

_HOST, _NAMESPACE, _LATEST = "registry.ollama.ai", "library", "latest"
# As Ollama's own check, types/model/name.go; so no name has control characters.
_HOST_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_PART_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaName:
    """A whole name; `str` leaves out the default host and namespace, as `ollama list` does."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Equal for names that Ollama treats as equal."""
        return self.host.casefold(), self.namespace.casefold(), self.model.casefold(), self.tag.casefold()

    @property
    def reference(self) -> str:
        """What a user types: the tag is left out where it is the default one."""
        text = str(self)
        return text[: -len(_LATEST) - 1] if self.tag.casefold() == _LATEST else text

    def __str__(self) -> str:
        host, namespace, _, _ = self.key
        name = f"{self.model}:{self.tag}"
        if host != _HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if namespace == _NAMESPACE else f"{self.namespace}/{name}"


def name_of_parts(host: str, namespace: str, model: str, tag: str) -> OllamaName | None:
    """The name with these parts, None where it is not valid."""
    is_name = _HOST_PATTERN.fullmatch(host) and all(map(_PART_PATTERN.fullmatch, (namespace, model, tag)))
    return OllamaName(host=host, namespace=namespace, model=model, tag=tag) if is_name else None


def parse_name(text: str) -> OllamaName | None:
    """The name in TEXT, with the defaults for what it leaves out; None where it is not valid."""
    *before, last = text.split("/")
    if len(before) > 2:
        return None
    model, colon, tag = last.partition(":")
    host, namespace = [_HOST, _NAMESPACE][: 2 - len(before)] + before
    return name_of_parts(host, namespace, model, tag if colon else _LATEST)
