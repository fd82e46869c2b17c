"""Where other programs keep models, and how a model there is named."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm_magics.catalog.sources import gpt4all, huggingface, jan, llama_cpp, lmstudio
from localllm_magics.catalog.sources.home import Home
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo
from tests.catalog.gguf_files import DEMO, write_gguf
from tests.catalog.sources.searching import home_at, new_search, references

USER = Path("/home/me")
Find = Callable[[Search], Iterator[ModelInfo]]


def put(path: Path) -> Path:
    """A model at PATH."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO, path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def put_in_cache(cache: Path, repository: str, revision: str, name: str, blob: str) -> Path:
    """A model as Hugging Face's library stores it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    stored = folder / "blobs" / blob
    if not stored.exists():
        put(stored)
    link = folder / "snapshots" / revision / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(stored)
    return link


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        pytest.param({}, "/home/me/.cache/huggingface/hub", id="nothing set"),
        pytest.param({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub", id="the cache of all"),
        pytest.param({"XDG_CACHE_HOME": "/c", "HF_HOME": "/h"}, "/h/hub", id="its home"),
        pytest.param({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/o"}, "/o", id="the older variable"),
        pytest.param({"HF_HUB_CACHE": "~/n", "HUGGINGFACE_HUB_CACHE": "/o"}, "/home/me/n", id="the cache itself"),
    ],
)
def test_the_cache_of_hugging_face_is_where_its_variables_say(variables: dict[str, str], found: str) -> None:
    assert huggingface.root(home_at(USER, **variables)) == Path(found)


@pytest.mark.parametrize(
    ("system", "variables", "found"),
    [
        pytest.param("linux", {}, "/home/me/.cache/llama.cpp", id="Linux"),
        pytest.param("darwin", {}, "/home/me/Library/Caches/llama.cpp", id="macOS"),
        pytest.param("win32", {"LOCALAPPDATA": "/local"}, "/local/llama.cpp", id="Windows"),
        pytest.param("linux", {"LLAMA_CACHE": "/l", "XDG_CACHE_HOME": "/c"}, "/l", id="its variable"),
    ],
)
def test_the_cache_of_llama_cpp_is_where_its_variable_says(system: str, variables: dict[str, str], found: str) -> None:
    assert llama_cpp.root(home_at(USER, system, **variables)) == Path(found)


@pytest.mark.parametrize(
    ("system", "variables", "found"),
    [
        pytest.param("linux", {}, "/home/me/.local/share/nomic.ai/GPT4All", id="Linux"),
        pytest.param("darwin", {}, "/home/me/Library/Application Support/nomic.ai/GPT4All", id="macOS"),
        pytest.param("win32", {}, "/home/me/AppData/Local/nomic.ai/GPT4All", id="Windows"),
        pytest.param("linux", {"XDG_DATA_HOME": "/d"}, "/d/nomic.ai/GPT4All", id="the data of all"),
    ],
)
def test_gpt4all_has_a_folder_on_each_system(system: str, variables: dict[str, str], found: str) -> None:
    assert gpt4all.roots(home_at(USER, system, **variables)) == [Path(found), USER / ".cache/gpt4all"]


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        pytest.param("linux", ".config", id="Linux"),
        pytest.param("darwin", ".config", id="macOS"),
        pytest.param("win32", "AppData/Roaming", id="Windows"),
    ],
)
def test_gpt4all_s_settings_name_a_folder(tmp_path: Path, system: str, settings: str) -> None:
    write(tmp_path / settings / "nomic.ai" / "GPT4All.ini", "[General]\nmodelPath=/big/models/\nother=x\n")

    assert gpt4all.roots(home_at(tmp_path, system))[0] == Path("/big/models")


@pytest.mark.parametrize(
    ("system", "found"),
    [
        pytest.param("linux", "/home/me/.local/share/Jan/data", id="Linux"),
        pytest.param("darwin", "/home/me/Library/Application Support/Jan/data", id="macOS"),
        pytest.param("win32", "/home/me/AppData/Roaming/Jan/data", id="Windows"),
    ],
)
def test_jan_has_a_folder_on_each_system(system: str, found: str) -> None:
    assert jan.data_folders(home_at(USER, system)) == [Path(found), USER / "jan"]


def test_jan_s_settings_and_its_variable_name_a_folder(tmp_path: Path) -> None:
    write(tmp_path / ".local/share/Jan/settings.json", json.dumps({"data_folder": "/big/jan"}))

    folders = jan.data_folders(home_at(tmp_path, JAN_DATA_FOLDER="/mine"))

    assert folders[:2] == [Path("/mine"), Path("/big/jan")]


def test_lm_studio_s_home_is_where_its_variable_or_its_pointer_says(tmp_path: Path) -> None:
    write(tmp_path / ".lmstudio-home-pointer", "/pointed\n")

    roots = lmstudio.roots(home_at(tmp_path, LMSTUDIO_HOME="/named"))

    own = (tmp_path / ".cache/lm-studio/models", tmp_path / ".lmstudio/models")
    assert roots[:4] == [Path("/named/models"), Path("/pointed/models"), *own]


@pytest.mark.parametrize("settings", [".lmstudio/settings.json", ".config/LM Studio/settings.json"])
def test_lm_studio_s_settings_name_a_folder(tmp_path: Path, settings: str) -> None:
    write(tmp_path / settings, json.dumps({"downloadsFolder": "/big/models"}))

    assert lmstudio.roots(home_at(tmp_path))[0] == Path("/big/models")


@pytest.mark.parametrize(
    "roots", [lmstudio.roots, gpt4all.roots, jan.data_folders], ids=["LM Studio", "GPT4All", "Jan"]
)
def test_a_relative_folder_in_settings_is_left_out(tmp_path: Path, roots: Callable[[Home], list[Path]]) -> None:
    write(tmp_path / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": "models"}))
    write(tmp_path / ".config" / "nomic.ai" / "GPT4All.ini", "modelPath=models\n")
    write(tmp_path / ".config" / "Jan" / "settings.json", json.dumps({"data_folder": "./data"}))

    assert all(path.is_relative_to(tmp_path) for path in roots(home_at(tmp_path)))


def test_models_of_hugging_face_are_named_by_repository_and_file(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "org/repo-GGUF", "abc", "repo-q4.gguf", "1")
    put_in_cache(tmp_path, "org/repo-GGUF", "abc", "Q8_0/repo-00001-of-00001.gguf", "2")
    put_in_cache(tmp_path, "single", "abc", "x.gguf", "3")
    put(tmp_path / "datasets--org--set" / "snapshots" / "abc" / "y.gguf")

    assert references(huggingface.find, tmp_path, HF_HUB_CACHE=str(tmp_path)) == [
        "org/repo-GGUF:repo-q4",
        "org/repo-GGUF:Q8_0/repo",
        "single:x",
    ]


def test_other_revisions_than_the_main_one_have_theirs_in_the_name(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "org/repo", "0" * 40, "x.gguf", "old")
    put_in_cache(tmp_path, "org/repo", "f" * 40, "x.gguf", "new")
    put_in_cache(tmp_path, "org/repo", "0" * 40, "same.gguf", "both")
    put_in_cache(tmp_path, "org/repo", "f" * 40, "same.gguf", "both")
    write(tmp_path / "models--org--repo" / "refs" / "main", "f" * 40)

    found = references(huggingface.find, tmp_path, HF_HUB_CACHE=str(tmp_path))

    assert found == ["org/repo:same", "org/repo:x", "org/repo:0000000/same", "org/repo:0000000/x"]


def test_a_link_of_which_the_blob_is_gone_is_listed_with_the_reason(tmp_path: Path) -> None:
    link = put_in_cache(tmp_path, "org/repo", "abc", "x.gguf", "1")
    link.readlink().unlink()

    (info,) = huggingface.find(new_search(tmp_path, "huggingface", {"HF_HUB_CACHE": str(tmp_path)}))

    assert info.problem == f"{link} is a link to {link.readlink()}, which does not exist."


def test_a_blob_that_is_being_downloaded_is_listed_if_it_is_a_model(tmp_path: Path) -> None:
    blobs = tmp_path / "models--org--repo" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123456789.incomplete").write_bytes(b"GGUF and more")
    (blobs / "9876543210.incomplete").write_bytes(b"of another format")
    (blobs / "broken.incomplete").symlink_to("nowhere")

    (info,) = huggingface.find(new_search(tmp_path, "huggingface", {"HF_HUB_CACHE": str(tmp_path)}))

    assert info.reference == "org/repo:0123456.incomplete"
    assert info.problem == "org/repo:0123456.incomplete is not downloaded completely: 13 B so far."


def test_both_layouts_of_llama_cpp_are_read(tmp_path: Path) -> None:
    put(tmp_path / "org_repo_x.gguf")
    (tmp_path / "org_repo_y.gguf.downloadInProgress").touch()
    put_in_cache(tmp_path, "org/repo", "abc", "z.gguf", "1")

    found = references(llama_cpp.find, tmp_path, LLAMA_CACHE=str(tmp_path))

    assert found == ["org/repo:z", "org_repo_x.gguf", "org_repo_y.gguf"]


def test_models_of_lm_studio_are_named_by_publisher_repository_and_file(tmp_path: Path) -> None:
    put(tmp_path / ".lmstudio" / "models" / "publisher" / "repo" / "x.gguf")
    put(tmp_path / ".lmstudio" / "models" / "loose.gguf")
    put(tmp_path / ".lmstudio" / ".internal" / "bundled-models" / "nomic" / "embed" / "e.gguf")

    assert references(lmstudio.find, tmp_path) == ["loose", "publisher/repo:x", "nomic/embed:e"]


def test_models_of_gpt4all_are_named_by_their_files(tmp_path: Path) -> None:
    put(tmp_path / ".local/share/nomic.ai/GPT4All" / "x.Q4_0.gguf")
    (tmp_path / ".local/share/nomic.ai/GPT4All" / "incomplete-y.gguf").touch()

    assert references(gpt4all.find, tmp_path) == ["y.gguf", "x.Q4_0.gguf"]


def test_models_of_jan_have_the_names_that_it_gives_them(tmp_path: Path) -> None:
    data = tmp_path / ".local/share/Jan/data"
    elsewhere = put(tmp_path / "elsewhere" / "y.gguf")
    put(data / "llamacpp/models/org/one/model.gguf")
    write_gguf(data / "llamacpp/models/org/one/mmproj.gguf", architecture="clip")
    write(
        data / "llamacpp/models/org/one/model.yml",
        "name: One\nmodel_path: llamacpp/models/org/one/model.gguf\n"
        'mmproj_path: "llamacpp/models/org/one/mmproj.gguf"\nsize_bytes: 1\n',
    )
    write(data / "llamacpp/models/two/model.yml", f"model_path: '{elsewhere}'\r\n")
    put(data / "models/old.gguf")

    found = list(jan.find(new_search(tmp_path, "jan")))

    named = {info.reference: (info.kind, info.path) for info in reversed(found)}
    assert named["org/one"] == ("chat", data / "llamacpp/models/org/one/model.gguf")
    assert named["org/one:mmproj"] == ("projector", data / "llamacpp/models/org/one/mmproj.gguf")
    assert named["two"] == ("chat", elsewhere)
    assert named["old.gguf"] == ("chat", data / "models/old.gguf")


@pytest.mark.parametrize("start", ["", "/"], ids=["from its folder", "whole"])
def test_a_file_that_jan_s_description_leads_out_to_is_left_out(tmp_path: Path, start: str) -> None:
    data = tmp_path / ".local/share/Jan/data"
    put(tmp_path / ".local/share" / "secret.gguf")
    put(data / "models/one/model.gguf")
    way = f"{start and data}/../../secret.gguf" if start else "../../secret.gguf"
    write(data / "models/one/model.yml", f"model_path: models/one/model.gguf\nmmproj_path: {way}\n")

    assert set(references(jan.find, tmp_path)) == {"one", "one/model.gguf"}


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(huggingface.find, id="Hugging Face"),
        pytest.param(lmstudio.find, id="LM Studio"),
        pytest.param(llama_cpp.find, id="llama.cpp"),
        pytest.param(gpt4all.find, id="GPT4All"),
        pytest.param(jan.find, id="Jan"),
    ],
)
def test_a_user_without_the_program_has_no_models_of_it(tmp_path: Path, find: Find) -> None:
    assert references(find, tmp_path) == []
