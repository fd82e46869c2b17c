from collections.abc import Sequence
from pathlib import Path

import pytest

from localllm_magics.catalog.sources.ollama import describe_stored, find, find_stored, store_folders
from localllm_magics.core.errors import (
    LocalLLMError,
    ModelNotFound,
    NotAGGUF,
    TruncatedFile,
    UnsupportedArchitecture,
)
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.sampling import Sampling
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.ollama_stores import LIBRARY, blob_of, write_manifest, write_model, write_recorded_store
from tests.catalog.sources.searching import new_search


def stored_models(folders: Sequence[Path] | None = None) -> list[ModelInfo]:
    return list(find(new_search(Path("nowhere"), "ollama"), folders))


def references(*stores: Path) -> list[str]:
    return [info.reference for info in stored_models(stores)]


def failure(name: str, store: Path) -> LocalLLMError:
    with pytest.raises(LocalLLMError) as caught:
        describe_stored(name, [store])
    return caught.value


@pytest.mark.parametrize("quoted", ["{}", " {} ", '"{}"', "'{}'"])
def test_the_variable_names_the_store(store: Path, monkeypatch: pytest.MonkeyPatch, quoted: str) -> None:
    write_recorded_store(store)
    monkeypatch.setenv("OLLAMA_MODELS", quoted.format(store))

    assert store_folders() == [store]


@pytest.mark.parametrize("value", [None, "", " "])
def test_without_the_variable_the_store_is_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    write_recorded_store(tmp_path / ".ollama" / "models")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    if value is None:
        monkeypatch.delenv("OLLAMA_MODELS")
    else:
        monkeypatch.setenv("OLLAMA_MODELS", value)

    assert store_folders()[:1] == [tmp_path / ".ollama" / "models"]


@pytest.mark.parametrize("wrong", ["missing", "empty", "file", "loop"])
def test_a_folder_that_is_no_store_is_left_out(store: Path, wrong: str) -> None:
    store.mkdir(parents=True)
    manifests = store / "manifests"
    if wrong == "empty":
        manifests.mkdir()
    elif wrong == "file":
        manifests.touch()
    elif wrong == "loop":
        manifests.symlink_to("manifests")

    assert store_folders() == []
    assert stored_models() == []


def test_all_names_of_a_recorded_store_are_listed(store: Path) -> None:
    write_recorded_store(store)

    models = stored_models()

    # /api/tags of the server that wrote it says: terse:latest, hf.co/someone/demo-GGUF:Q8_0, demo:latest.
    assert [info.name for info in models] == ["demo:latest", "hf.co/someone/demo-GGUF:Q8_0", "terse:latest"]
    assert [info.reference for info in models] == ["demo", "hf.co/someone/demo-GGUF:Q8_0", "terse"]
    assert [info.defaults.system for info in models] == [None, None, "You are terse."]
    assert [info.problem for info in models] == [None] * 3


def test_a_stored_model_is_described_by_its_header(tmp_path: Path) -> None:
    manifest = write_model(tmp_path, f"{LIBRARY}/tiny/1b")
    (info,) = stored_models([tmp_path])

    assert (info.source, info.path) == ("ollama", blob_of(tmp_path, manifest))
    assert info.size_bytes == DEMO.stat().st_size
    assert (info.architecture, info.quantization, info.kind) == ("llama", "Q8_0", "chat")


def test_parameters_of_the_manifest_win_over_those_of_the_header(tmp_path: Path) -> None:
    metadata = {"general.sampling.temp": 0.6, "general.sampling.top_k": 7}
    weights = write_gguf(tmp_path / "x.gguf", metadata=metadata)
    write_model(tmp_path, f"{LIBRARY}/x/latest", weights=weights, layers=[("params", b'{"top_k": 9}')])

    assert describe_stored("x", [tmp_path]).defaults.sampling == Sampling(temperature=0.6, top_k=9)


def test_only_what_has_the_name_of_a_manifest_is_listed(tmp_path: Path) -> None:
    write_model(tmp_path, f"{LIBRARY}/good/latest")
    folder = tmp_path / "manifests" / LIBRARY
    (folder / "good" / ".DS_Store").touch()
    (folder / "good" / "new\nline").touch()
    (folder / "esc\x1b[2J").mkdir()
    (folder / "esc\x1b[2J" / "latest").touch()
    (folder / "README").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")

    assert references(tmp_path) == ["good"]


def test_the_first_store_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first = write_model(one, f"{LIBRARY}/x/latest")
    write_model(two, f"{LIBRARY}/X/Latest")
    write_model(two, f"{LIBRARY}/a/latest")

    assert references(one, two) == ["a", "x"]
    assert stored_models([one, two])[1].path == blob_of(one, first)


def test_what_is_wrong_with_a_model_is_its_problem(tmp_path: Path) -> None:
    write_model(tmp_path, f"{LIBRARY}/cloud/latest", config={"remote_host": "https://ollama.com"}, weights=None)
    write_model(tmp_path, f"{LIBRARY}/good/latest")
    write_manifest(tmp_path, f"{LIBRARY}/torn/latest", b"{")

    assert stored_models([tmp_path])[0] == ModelInfo(
        reference="cloud",
        name="cloud:latest",
        source="ollama",
        problem="cloud:latest runs on a server of Ollama's: its weights are not in the store.",
    )
    assert [info.problem for info in stored_models([tmp_path])[1:]] == [
        None,
        "The manifest of torn:latest is not a JSON object.",
    ]


def test_weights_that_are_no_gguf_are_named_by_the_model(tmp_path: Path) -> None:
    write_model(tmp_path, f"{LIBRARY}/text/latest", layers=[("model", b"Hello, I am no model.")], weights=None)
    error = failure("text", tmp_path)

    assert isinstance(error, NotAGGUF)
    assert error.message.startswith("text:latest is not a GGUF file")
    assert error.hint == "Type in a terminal: ollama pull text"


def test_weights_that_were_cut_since_they_were_read_are_found_out(tmp_path: Path) -> None:
    blob = blob_of(tmp_path, write_model(tmp_path, f"{LIBRARY}/x/latest"))
    before = describe_stored("x", [tmp_path])
    blob.write_bytes(blob.read_bytes()[:-1])

    assert before.path == blob
    assert isinstance(failure("x", tmp_path), TruncatedFile)


def test_an_architecture_of_ollamas_own_says_what_to_type(tmp_path: Path) -> None:
    weights = write_gguf(tmp_path / "gptoss.gguf", architecture="gptoss")
    write_model(tmp_path, f"{LIBRARY}/gpt-oss/20b", weights=weights)
    error = failure("gpt-oss:20b", tmp_path)

    assert isinstance(error, UnsupportedArchitecture)
    assert error.message == "gpt-oss:20b has a tensor layout of Ollama's own (gptoss), which llama.cpp cannot read."
    assert error.hint == "Type: %llm load ollama:gpt-oss:20b"


@pytest.mark.parametrize("name", ["other", "../x", "x:other"])
def test_a_name_that_is_not_in_the_store_is_not_found(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, f"{LIBRARY}/x/latest")
    error = failure(name, tmp_path)

    assert isinstance(error, ModelNotFound)
    assert error.message == f"Ollama's store has no model {name!r}."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(
            (text, "terse")
            for text in ("terse", "TERSE", "terse:latest", "library/terse", "registry.ollama.ai/library/terse")
        ),
        *(
            (text, "hf.co/someone/demo-GGUF:Q8_0")
            for text in ("hf.co/someone/demo-gguf:q8_0", "HF.CO/someone/demo-GGUF:Q8_0")
        ),
        *((text, None) for text in ("ters", "terse:other", "someone/terse", "hf.co/someone/demo-GGUF", "", "./terse")),
    ],
)
def test_a_name_is_found_as_ollama_finds_it(tmp_path: Path, text: str, found: str | None) -> None:
    models = stored_models([write_recorded_store(tmp_path / "models")])

    assert [info.reference for info in find_stored(text, models)] == ([] if found is None else [found])


def test_only_stored_models_have_such_names() -> None:
    models = [
        ModelInfo(reference="x", name="x", source="folder"),
        ModelInfo(reference="y", name="a b", source="ollama"),
    ]

    assert find_stored("x", models) == []


def test_weights_that_are_no_model_are_told_under_the_model_s_name(store: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("hello")
    write_model(store, f"{LIBRARY}/x/latest", weights=weights)

    (info,) = find(new_search(store, "ollama"))

    assert (info.reference, info.problem) == ("x", "x:latest is not a GGUF file: it is a text file.")


def test_weights_that_are_being_downloaded_are_listed(store: Path) -> None:
    write_model(store, f"{LIBRARY}/x/latest")
    with (store / "blobs" / f"sha256-{'a' * 64}-partial").open("wb") as file:
        file.truncate(2_000_000)
    (store / "blobs" / f"sha256-{'b' * 64}-partial").write_text("a license")
    (store / "blobs" / f"sha256-{'c' * 64}-partial").symlink_to("nowhere")

    found = list(find(new_search(store, "ollama")))

    assert [info.reference for info in found] == ["x", "sha256-aaaaaaaaaaaa-partial"]
    assert found[1].problem == "sha256-aaaaaaaaaaaa-partial is not downloaded completely: 2.0 MB so far."
