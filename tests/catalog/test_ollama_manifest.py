import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.ollama_manifest import Manifest, ManifestFile
from localllm_magics.core.errors import LoadFailed, LocalLLMError, TruncatedFile
from localllm_magics.core.model_info import ModelDefaults
from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.ollama.name import OllamaName
from tests.catalog.ollama_stores import LIBRARY, add_blob, blob_of, write_manifest, write_model, write_recorded_store

NAME = OllamaName(host="registry.ollama.ai", namespace="library", model="x", tag="latest")
PULL = "Type in a terminal: ollama pull x"
OLLAMA = "Type: %llm load ollama:x"


def manifest_file(path: Path) -> ManifestFile:
    return ManifestFile(name=NAME, path=path, store=path.parents[4])


def failure(path: Path) -> LocalLLMError:
    with pytest.raises(LocalLLMError) as caught:
        _ = (manifest := Manifest(manifest_file(path))).weights(), manifest.defaults()
    return caught.value


def test_a_recorded_manifest_has_weights_and_defaults(tmp_path: Path) -> None:
    store = write_recorded_store(tmp_path / "models")
    path = store / "manifests" / LIBRARY / "terse" / "latest"

    manifest = Manifest(manifest_file(path))

    assert manifest.weights() == blob_of(store, path)
    assert replace(manifest.defaults(), template_notice="", load_hint="") == ModelDefaults(
        system="You are terse.", sampling=Sampling(temperature=0, stop=("END",)), ctx=512
    )
    assert "written in Go" in manifest.defaults().template_notice


def test_a_manifest_may_have_weights_alone(tmp_path: Path) -> None:
    digest, size = add_blob(tmp_path, b"GGUF")
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest.replace(":", "-"), "size": size}

    manifest = Manifest(manifest_file(write_manifest(tmp_path, f"{LIBRARY}/x/latest", {"layers": [layer]})))

    assert manifest.weights() == tmp_path / "blobs" / digest.replace(":", "-")
    assert manifest.defaults() == ModelDefaults(load_hint=manifest.defaults().load_hint)
    assert manifest.defaults().load_hint.endswith(f"%llm load ollama:{NAME.reference}")


@pytest.mark.parametrize("renderer", [{"renderer": "qwen3-coder"}, {}])
def test_a_renderer_is_a_template_that_ollama_alone_has(tmp_path: Path, renderer: dict[str, str]) -> None:
    path = write_model(tmp_path, f"{LIBRARY}/x/latest", config=renderer)

    notice = Manifest(manifest_file(path)).defaults().template_notice

    assert notice.endswith(f"`%llm load ollama:{NAME.reference}`") == bool(renderer)


def test_the_last_system_prompt_counts_and_a_blank_one_is_none(tmp_path: Path) -> None:
    two = write_model(tmp_path, f"{LIBRARY}/x/two", layers=[("system", b"One."), ("system", b"Tw\xf6.")])
    blank = write_model(tmp_path, f"{LIBRARY}/x/blank", layers=[("system", b" \n")])

    assert Manifest(manifest_file(two)).defaults().system == "Tw\N{REPLACEMENT CHARACTER}."
    assert Manifest(manifest_file(blank)).defaults().system is None


@pytest.mark.parametrize(
    ("config", "layers", "words"),
    [
        pytest.param({"remote_host": "https://x"}, [], "runs on a server of Ollama's", id="cloud"),
        pytest.param({"model_format": "safetensors"}, [], "in a format that Ollama alone reads", id="format"),
        pytest.param({}, [("tensor", b"1")], "in a format that Ollama alone reads", id="tensors"),
        pytest.param({}, [("model", b"1"), ("adapter", b"2")], "has an adapter (LoRA)", id="adapter"),
        pytest.param({}, [("model", b"1"), ("model", b"2")], "has 2 files of weights instead of one", id="parts"),
        pytest.param({}, [("license", b"1")], "has 0 files of weights instead of one", id="no weights"),
    ],
)
def test_what_ollama_alone_can_run_says_so(
    tmp_path: Path, config: dict[str, str], layers: list[tuple[str, bytes]], words: str
) -> None:
    error = failure(write_model(tmp_path, f"{LIBRARY}/x/latest", config=config, layers=layers, weights=None))

    assert isinstance(error, LoadFailed)
    assert words in error.message
    assert error.hint == OLLAMA


def test_weights_that_are_missing_or_cut_say_so(tmp_path: Path) -> None:
    path = write_model(tmp_path, f"{LIBRARY}/x/latest", layers=[("model", b"GGUF")], weights=None)
    blob = blob_of(tmp_path, path)

    blob.write_bytes(b"GGU")
    cut = failure(path)
    blob.rename(f"{blob}-partial")
    partial = failure(path)
    Path(f"{blob}-partial").unlink()
    gone = failure(path)

    assert [type(error) for error in (cut, partial, gone)] == [TruncatedFile] * 3
    assert cut.message == "The weights of x:latest have 3 bytes instead of 4."
    assert partial.message == "The weights of x:latest were not downloaded completely."
    assert gone.message == "The weights of x:latest are not in Ollama's store."
    assert {error.hint for error in (cut, partial, gone)} == {PULL}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"hello", id="text"),
        pytest.param(b"\xff\xfe", id="bytes"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"[" * 500_000, id="deep"),
        pytest.param(b'{"a": ' + b"1" * 10_000 + b'}{"', id="long"),
        pytest.param(b" " * 1_000_001, id="huge"),
    ],
)
@pytest.mark.parametrize("where", ["manifest", "configuration", "parameters"])
def test_what_is_no_short_json_object_is_named(tmp_path: Path, content: bytes, where: str) -> None:
    path = write_model(tmp_path, f"{LIBRARY}/x/latest", layers=[("params", b"{}")])
    config = json.loads(path.read_text())["config"]["digest"].replace(":", "-")
    blobs = {
        "manifest": path,
        "configuration": tmp_path / "blobs" / config,
        "parameters": blob_of(tmp_path, path, "params"),
    }
    blobs[where].write_bytes(content)

    error = failure(path)

    assert isinstance(error, LoadFailed)
    assert error.message.startswith(f"The {where} of x:latest ")
    assert error.hint == PULL


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param("model", id="no object"),
        pytest.param({}, id="empty"),
        pytest.param({"mediaType": "x", "digest": "sha256:../../../etc/passwd", "size": 1}, id="a way out"),
        pytest.param({"mediaType": "x", "digest": "sha256:" + "A" * 64, "size": 1}, id="capitals"),
        pytest.param({"mediaType": "x", "digest": "sha256:" + "a" * 64 + "\n", "size": 1}, id="line end"),
        pytest.param({"mediaType": "x", "digest": 7, "size": 1}, id="number"),
        pytest.param({"mediaType": 7, "digest": "sha256:" + "a" * 64, "size": 1}, id="no media type"),
        pytest.param({"mediaType": "x", "digest": "sha256:" + "a" * 64, "size": "1"}, id="no size"),
    ],
)
@pytest.mark.parametrize("key", ["layers", "config"])
def test_a_layer_that_is_none_is_damage(tmp_path: Path, layer: object, key: str) -> None:
    path = write_manifest(
        tmp_path, f"{LIBRARY}/x/latest", {key: [layer] if key == "layers" else layer or {"digest": ""}}
    )

    assert failure(path).message == "The manifest of x:latest is damaged."


def test_a_missing_file_and_a_pipe_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "manifests" / LIBRARY / "x"
    folder.mkdir(parents=True)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")

    messages = [failure(folder / name).message for name in ("gone", "loop", "pipe")]

    assert messages == [
        f"The manifest of x:latest cannot be read: {os.strerror(errno.ENOENT)}.",
        f"The manifest of x:latest cannot be read: {os.strerror(errno.ELOOP)}.",
        "The manifest of x:latest is not a file.",
    ]


@pytest.mark.parametrize(
    ("value", "ctx"), [(2048, 2048), (0, None), (-1, None), (2**31, None), ("2048", None), (True, None)]
)
def test_the_context_is_taken_where_it_is_one(tmp_path: Path, value: object, ctx: int | None) -> None:
    params = json.dumps({"num_ctx": value}).encode()
    path = write_model(tmp_path, f"{LIBRARY}/x/latest", layers=[("params", params)])

    assert Manifest(manifest_file(path)).defaults().ctx == ctx
