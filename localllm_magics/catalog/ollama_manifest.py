"""A manifest of Ollama's store, which is untrusted."""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, TruncatedFile
from localllm_magics.core.model_info import ModelDefaults
from localllm_magics.engines.file_stamp import read_stamp
from localllm_magics.engines.ollama.name import OllamaName
from localllm_magics.engines.ollama.parameters import to_context, to_sampling

_MAX_BYTES = 1_000_000
_TEMPLATE_NOTICE = (
    "This model's only chat template is Ollama's, written in Go, which cannot be used here, so ChatML was used. "
    "Ollama itself uses it: `%llm load ollama:{}`"
)
_LOAD_HINT = "It may be in Ollama's own layout, which Ollama alone reads. Type: %llm load ollama:{}"
_MEDIA_TYPE = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """The file of a manifest, and the store that it belongs to."""

    name: OllamaName
    path: Path
    store: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A blob as a manifest lists it; KIND is the last part of its media type."""

    kind: str
    digest: str
    size: int


class Manifest:
    """A parsed manifest.

    Raises:
        LoadFailed: It is damaged.
    """

    def __init__(self, file: ManifestFile) -> None:
        self._store, self._name = file.store, file.name
        content = self._read_json(file.path, "manifest")
        config = content.get("config")
        self._config = self._read_json(self._blob(self._layer(config)), "configuration") if config else {}
        listed = content.get("layers")
        self._layers = [self._layer(item) for item in (listed if isinstance(listed, list) else [])]

    def weights(self) -> Path:
        """The GGUF file of a model that has nothing but this file.

        Raises:
            LoadFailed: The model needs something that Ollama alone supports.
            TruncatedFile: The file is missing or incomplete.
        """
        kinds = [layer.kind for layer in self._layers]
        if self._config.get("remote_host"):
            raise self._needs_ollama("runs on a server of Ollama's: its weights are not in the store")
        if self._config.get("model_format") not in (None, "", "gguf") or "tensor" in kinds:
            raise self._needs_ollama("is in a format that Ollama alone reads, not GGUF")
        if "adapter" in kinds:
            raise self._needs_ollama("has an adapter (LoRA), which Ollama alone applies")
        if kinds.count("model") != 1:
            raise self._needs_ollama(f"has {kinds.count('model')} files of weights instead of one")
        return self._complete_blob(self._layers[kinds.index("model")])

    def _complete_blob(self, layer: Layer) -> Path:
        path = self._blob(layer)
        stamp = read_stamp(path)
        if stamp is not None and stamp.size_bytes == layer.size:
            return path
        if stamp is not None:
            what = f"have {stamp.size_bytes:,} bytes instead of {layer.size:,}"
        elif read_stamp(path.with_name(f"{path.name}-partial")) is not None:
            what = "were not downloaded completely"
        else:
            what = "are not in Ollama's store"
        raise TruncatedFile(f"The weights of {self._name} {what}.", pull_command(self._name))

    def defaults(self) -> ModelDefaults:
        """The system prompt, the parameters, and what to tell users of the model.

        Raises:
            LoadFailed: They cannot be read.
        """
        layers = {layer.kind: self._blob(layer) for layer in self._layers}  # the last of a kind wins, as in Ollama
        system = self._read(layers["system"], "system prompt") if "system" in layers else b""
        params = self._read_json(layers["params"], "parameters") if "params" in layers else {}
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
            raise LoadFailed(f"The manifest of {self._name} is damaged.", pull_command(self._name))
        return Layer(kind=kind.removeprefix(_MEDIA_TYPE), digest=match[1], size=size)

    def _blob(self, layer: Layer) -> Path:
        return self._store / "blobs" / f"sha256-{layer.digest}"

    def _needs_ollama(self, what: str) -> LoadFailed:
        return LoadFailed(f"{self._name} {what}.", load_command(self._name))

    def _read_json(self, path: Path, what: str) -> Mapping[str, object]:
        try:
            content = json.loads(self._read(path, what))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise LoadFailed(f"The {what} of {self._name} is not a JSON object.", pull_command(self._name))
        return content

    def _read(self, path: Path, what: str) -> bytes:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its other end
                raise LoadFailed(f"The {what} of {self._name} is not a file.", pull_command(self._name))
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as exc:
            message = f"The {what} of {self._name} cannot be read: {exc.strerror}."
            raise LoadFailed(message, pull_command(self._name)) from exc
        if len(content) > _MAX_BYTES:
            raise LoadFailed(f"The {what} of {self._name} has more than a million bytes.", pull_command(self._name))
        return content


def pull_command(name: OllamaName) -> str:
    """A hint for a model with missing or damaged files."""
    return f"Type in a terminal: ollama pull {name.reference}"


def load_command(name: OllamaName) -> str:
    """A hint for a model that Ollama can run and the kernel engine cannot."""
    return f"Type: %llm load ollama:{name.reference}"
