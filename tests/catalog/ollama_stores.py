"""Stores as Ollama 0.33.0-rc2 wrote them, around weights of our own."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.catalog.gguf_files import DEMO

RECORDED = Path(__file__).parents[1] / "data" / "ollama_store"
LIBRARY = "registry.ollama.ai/library"
_WEIGHTS = "sha256:d01a8d9206096feb9745e252d9e2300f709ba914fa78f4ae14ec1c553572aadc"
"""In the recorded manifests; that file, a copy of the bundled model made by Ollama, is not in the repository."""


def write_recorded_store(store: Path, weights: Path = DEMO) -> Path:
    """The recorded names `demo`, `terse` and `hf.co/someone/demo-GGUF:Q8_0`, with these weights; the folder."""
    shutil.copytree(RECORDED, store)
    digest, size = add_blob(store, weights.read_bytes())
    for path in (store / "manifests").rglob("*"):
        if path.is_file():
            manifest = json.loads(path.read_text())
            for layer in manifest["layers"]:
                if layer["digest"] == _WEIGHTS:
                    layer.update(digest=digest, size=size)
            path.write_text(json.dumps(manifest))
    return store


def write_model(
    store: Path,
    name: str,
    *,
    config: object = None,
    layers: Sequence[tuple[str, bytes]] = (),
    weights: Path | None = DEMO,
) -> Path:
    """Add a model to STORE; NAME has all four parts, with a slash before the tag. Its manifest's path."""
    parts = list(layers) if weights is None else [("model", weights.read_bytes()), *layers]
    manifest = {
        "schemaVersion": 2,
        "config": _layer(store, "config", json.dumps({"model_format": "gguf"} if config is None else config).encode()),
        "layers": [_layer(store, kind, content) for kind, content in parts],
    }
    return write_manifest(store, name, manifest)


def write_manifest(store: Path, name: str, manifest: Mapping[str, Any] | bytes) -> Path:
    """Add a manifest as it is."""
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode())
    return path


def add_blob(store: Path, content: bytes) -> tuple[str, int]:
    """Digest and size of a new blob."""
    digest = hashlib.sha256(content).hexdigest()
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / f"sha256-{digest}").write_bytes(content)
    return f"sha256:{digest}", len(content)


def blob_of(store: Path, manifest: Path, kind: str = "model") -> Path:
    """The file that MANIFEST lists for KIND."""
    layers = json.loads(manifest.read_text())["layers"]
    digest = str(next(layer["digest"] for layer in layers if layer["mediaType"].endswith(f".{kind}")))
    return store / "blobs" / digest.replace(":", "-")


def _layer(store: Path, kind: str, content: bytes) -> dict[str, Any]:
    digest, size = add_blob(store, content)
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size}
