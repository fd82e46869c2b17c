"""What one manifest of Ollama's store says of a model; every word of it is untrusted."""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, TruncatedFile
from localllm_magics.core.model_info import ModelDefaults
from localllm_magics.engines.ollama.name import OllamaName
from localllm_magics.engines.ollama.parameters import to_context, to_sampling

_LARGEST = 1_000_000
_TEMPLATE_NOTICE = (
    "This model's only chat template is Ollama's, written in Go, which cannot be used here, so ChatML was used. "
    "Ollama itself uses it: %llm load ollama:{}"
)
_LOAD_HINT = "It may be in Ollama's own layout, which Ollama alone reads. Type: %llm load ollama:{}"
_MEDIA_TYPE = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a manifest lies."""

    name: OllamaName
    path: Path
    store: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A blob as a manifest lists it; KIND is the last word of its media type."""

    kind: str
    digest: str
    size: int


class Manifest:
    """A manifest that was read.

    Raises:
        LoadFailed: It is damaged.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._name = place.name
        content = self._json(place.path, "manifest")
        config = content.get("config")
        self._config = self._json(self._blob(self._layer(config)), "configuration") if config else {}
        listed = content.get("layers")
        self._layers = [self._layer(item) for item in (listed if isinstance(listed, list) else [])]

    def weights(self) -> Path:
        """The one GGUF file that the model is, with all its bytes.

        Raises:
            LoadFailed: There is something else to the model, which Ollama alone can use.
            TruncatedFile: It is not there, or not all of it.
        """
        kinds = [layer.kind for layer in self._layers]
        if self._config.get("remote_host"):
            raise self._for_ollama("runs on a server of Ollama's: its weights are not in the store")
        if self._config.get("model_format") not in (None, "", "gguf") or "tensor" in kinds:
            raise self._for_ollama("is in a format that Ollama alone reads, not in GGUF")
        if "adapter" in kinds:
            raise self._for_ollama("has an adapter (LoRA), which Ollama alone applies")
        if kinds.count("model") != 1:
            raise self._for_ollama(f"has {kinds.count('model')} files of weights instead of one")
        layer = self._layers[kinds.index("model")]
        path = self._blob(layer)
        size = _size(path)
        if size is None:
            is_partial = _size(path.with_name(f"{path.name}-partial")) is not None
            what = "were not downloaded to their end" if is_partial else "are not in Ollama's store"
            raise TruncatedFile(f"The weights of {self._name} {what}.", pull(self._name))
        if size != layer.size:
            message = f"The weights of {self._name} have {size:,} bytes instead of {layer.size:,}."
            raise TruncatedFile(message, pull(self._name))
        return path

    def defaults(self) -> ModelDefaults:
        """The system prompt, the parameters, and what to tell users of the model.

        Raises:
            LoadFailed: They are listed, and cannot be read.
        """
        layers = {layer.kind: self._blob(layer) for layer in self._layers}  # the last of a kind counts, as in Ollama
        system = self._read(layers["system"], "system prompt") if "system" in layers else b""
        params = self._json(layers["params"], "parameters") if "params" in layers else {}
        has_template = not layers.keys().isdisjoint({"template", "prompt"}) or "renderer" in self._config
        return ModelDefaults(
            system=system.decode("utf-8", "replace") if system.strip() else None,
            sampling=to_sampling(params),
            ctx=to_context(params),
            template_notice=_TEMPLATE_NOTICE.format(self._name.reference) if has_template else "",
            load_hint=_LOAD_HINT.format(self._name.reference),
        )

    def _layer(self, item: object) -> Layer:
        values = item if isinstance(item, dict) else {}
        kind, digest, size = (values.get(key) for key in ("mediaType", "digest", "size"))
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None or not isinstance(kind, str) or not isinstance(size, int):
            raise LoadFailed(f"The manifest of {self._name} is damaged.", pull(self._name))
        return Layer(kind=kind.removeprefix(_MEDIA_TYPE), digest=match[1], size=size)

    def _blob(self, layer: Layer) -> Path:
        return self._place.store / "blobs" / f"sha256-{layer.digest}"

    def _for_ollama(self, what: str) -> LoadFailed:
        return LoadFailed(f"{self._name} {what}.", ask_ollama(self._name))

    def _json(self, path: Path, what: str) -> Mapping[str, object]:
        try:
            content = json.loads(self._read(path, what))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise LoadFailed(f"The {what} of {self._name} is no JSON object.", pull(self._name))
        return content

    def _read(self, path: Path, what: str) -> bytes:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its other end
                raise LoadFailed(f"The {what} of {self._name} is no file.", pull(self._name))
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as exc:
            message = f"The {what} of {self._name} cannot be read: {exc.strerror}."
            raise LoadFailed(message, pull(self._name)) from exc
        if len(content) > _LARGEST:
            raise LoadFailed(f"The {what} of {self._name} has more than a million bytes.", pull(self._name))
        return content


def pull(name: OllamaName) -> str:
    """What to type where files of a model are missing or damaged."""
    return f"Type in a terminal: ollama pull {name.reference}"


def ask_ollama(name: OllamaName) -> str:
    """What to type where Ollama can run a model and we cannot."""
    return f"Type: %llm load ollama:{name.reference}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
