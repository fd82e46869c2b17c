import shutil
from pathlib import Path

import pytest

from localllm_magics.catalog.discover import Catalog
from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.reference import resolve
from localllm_magics.core.errors import LoadFailed, LocalLLMError, ModelNotFound
from tests.catalog.gguf_files import DEMO, TEMPLATE, write_gguf

CHAT = {"tokenizer.chat_template": TEMPLATE}


def failure(reference: str, folder: Path) -> LocalLLMError:
    with pytest.raises(LocalLLMError) as caught:
        resolve(reference, folder)
    return caught.value


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache with one repository."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    snapshot = cache / "models--org--repo-GGUF" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    shutil.copy(DEMO, snapshot / "repo-q8.gguf")
    write_gguf(snapshot / "repo-f32.gguf", metadata=CHAT)
    return snapshot


@pytest.mark.parametrize(
    "reference", ["org/repo-GGUF:repo-q8", "ORG/REPO-gguf:Q8_0", "repo-q8.gguf", "Repo-Q8", "repo-GGUF:repo-q8", "o-q8"]
)
def test_a_model_of_a_store_is_found_by_its_names(tmp_path: Path, cache: Path, reference: str) -> None:
    info = resolve(reference, tmp_path)

    assert (info.reference, info.source, info.path) == ("org/repo-GGUF:repo-q8", "huggingface", cache / "repo-q8.gguf")


def test_a_name_that_several_models_of_a_store_have_lists_them(tmp_path: Path, cache: Path) -> None:
    error = failure("repo-GGUF", tmp_path)

    assert error.message == "'repo-GGUF' names 2 models: org/repo-GGUF:repo-f32, org/repo-GGUF:repo-q8."


def test_a_file_that_two_stores_have_is_found_by_both_names(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "org_repo-GGUF_repo-q8.gguf").symlink_to(cache / "repo-q8.gguf")

    sources = [resolve(name, tmp_path).source for name in ("org/repo-GGUF:repo-q8", "org_repo-GGUF_repo-q8.gguf")]

    assert sources == ["huggingface", "llama.cpp"]


def test_a_name_that_is_known_is_not_searched_for_again(tmp_path: Path, cache: Path) -> None:
    catalog = Catalog(HeaderCache(tmp_path / "headers.json"))
    catalog.find(tmp_path)
    shutil.copy(cache / "repo-f32.gguf", cache / "repo-q8-another.gguf")  # a part of that name is in it

    info = resolve("org/repo-GGUF:repo-q8", tmp_path, catalog=catalog)

    assert info.path == cache / "repo-q8.gguf"
    assert len(catalog.known(tmp_path)) == 3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param("another file", ("repo-q8.gguf", "F32"), id="another file"),
        pytest.param("gone", ("sub-repo-q8.gguf", "Q8_0"), id="gone"),
    ],
)
def test_a_name_whose_file_has_changed_is_searched_for_again(
    tmp_path: Path, cache: Path, change: str, found: tuple[str, str]
) -> None:
    catalog = Catalog(HeaderCache(tmp_path / "headers.json"))
    catalog.find(tmp_path)
    if change == "another file":
        shutil.copy(cache / "repo-f32.gguf", cache / "repo-q8.gguf")
    else:
        (cache / "repo-q8.gguf").rename(cache / "sub-repo-q8.gguf")

    info = resolve("repo-q8", tmp_path, catalog=catalog)

    assert (info.path, info.quantization) == (cache / found[0], found[1])


def test_a_name_that_is_known_is_searched_for_again_once_the_running_folder_has_it(tmp_path: Path, cache: Path) -> None:
    catalog = Catalog(HeaderCache(tmp_path / "headers.json"))
    catalog.find(tmp_path)
    write_gguf(tmp_path / "repo-q8.gguf", metadata=CHAT)

    with pytest.raises(ModelNotFound) as caught:
        resolve("repo-q8", tmp_path, catalog=catalog)

    assert caught.value.message == "'repo-q8' names 2 models: repo-q8.gguf, org/repo-GGUF:repo-q8."


def test_a_half_downloaded_model_says_so(tmp_path: Path, cache: Path) -> None:
    (cache / "later.gguf.part").write_bytes(b"GGUF")

    error = failure("org/repo-GGUF:later", tmp_path)

    assert isinstance(error, LoadFailed)
    assert error.message == "org/repo-GGUF:later is not downloaded completely: 4 B so far."


@pytest.mark.parametrize(
    "reference", ["org/repo-GGUF:repo-q8.gguf", "Org/Repo-GGUF:Repo-Q8.gguf", "org/repo-GGUF:sub/other.gguf"]
)
def test_a_file_of_a_repository_may_be_written_with_its_ending(tmp_path: Path, cache: Path, reference: str) -> None:
    (cache / "sub").mkdir()
    write_gguf(cache / "sub" / "other.gguf", metadata=CHAT)

    assert f"{resolve(reference, tmp_path).reference}.gguf" == reference.casefold().replace("gguf:", "GGUF:")


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        pytest.param("org/repo-GGUF:Q5_K_M", "Q5_K_M", id="a quantization"),
        pytest.param("Org/repo-gguf:other.gguf", "other.gguf", id="a file"),
    ],
)
def test_what_a_repository_does_not_have_lists_what_it_has(
    tmp_path: Path, cache: Path, reference: str, wanted: str
) -> None:
    error = failure(reference, tmp_path)

    repository = reference.partition(":")[0]
    names = "org/repo-GGUF:repo-f32, org/repo-GGUF:repo-q8"
    assert isinstance(error, ModelNotFound)
    assert error.message == f"{repository} has no {wanted!r}. It has: {names}."
    assert error.hint == "Type: %llm load org/repo-GGUF:repo-f32"


def test_a_repository_without_an_organization_lists_what_it_has(tmp_path: Path, cache: Path) -> None:
    cache.parents[1].rename(cache.parents[2] / "models--single")

    assert failure("single:Q5_K_M", tmp_path).message.startswith("single has no 'Q5_K_M'. It has: single:repo-f32, ")


@pytest.mark.parametrize("reference", ["org/repo-GGUF:Q8_0", "org/repo-GGUF:Q8", "repo-q8.gguf", "repo-q8", "q8"])
def test_a_name_means_the_current_revision(tmp_path: Path, cache: Path, reference: str) -> None:
    older = add_revision(cache)
    shutil.copy(DEMO, older / "repo-q8.gguf")

    assert resolve(reference, tmp_path).path == cache / "repo-q8.gguf"
    assert resolve("org/repo-GGUF:0123456/repo-q8", tmp_path).path == older / "repo-q8.gguf"


def test_a_repository_means_its_current_revision(tmp_path: Path, cache: Path) -> None:
    (cache / "repo-f32.gguf").unlink()
    shutil.copy(DEMO, add_revision(cache) / "before-it-was-renamed.gguf")

    assert resolve("org/repo-GGUF", tmp_path).path == cache / "repo-q8.gguf"


def test_what_only_an_older_revision_has_is_found(tmp_path: Path, cache: Path) -> None:
    older = add_revision(cache)
    shutil.copy(DEMO, older / "gone.gguf")

    assert resolve("org/repo-GGUF:gone.gguf", tmp_path).path == older / "gone.gguf"


def add_revision(current: Path) -> Path:
    """An older revision beside CURRENT."""
    repository = current.parents[1]
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(current.name)
    older = repository / "snapshots" / "0123456789"
    older.mkdir()
    return older
