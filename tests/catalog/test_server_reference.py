from pathlib import Path

import pytest

from localllm_magics.catalog.server_reference import is_server_reference, resolve_server_reference
from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.served_models import ollama_model, openai_model

HOST = "http://10.0.0.5:9999"


def ollama(reference: str, name: str, address: str) -> ModelInfo:
    return ollama_model(name, Address.from_text(address), reference)


def openai(reference: str, name: str, address: str) -> ModelInfo:
    return openai_model(name, Address.from_text(address), reference)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("ollama:demo", True),
        ("OLLAMA:demo", True),
        ("openai:m@http://127.0.0.1:8080", True),
        ("llamafile:x.llamafile", True),
        ("http://127.0.0.1:8080", True),
        ("HTTPS://host", True),
        ("<http://host>", True),
        ("(http://host).", True),
        ("`http://host`", True),
        ("'http://host',", True),
        ("localhost:8080", True),
        ("LocalHost:8080/v1/", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost:11434/api/generate", True),
        ("127.0.0.1:8080/v1/chat/completions?x=1", True),
        ("huggingface.co/u/r/resolve/main/x.gguf", True),
        ("ollama.com/library/llama3.2", True),
        ("hf.co/u/r:Q4_K_M", False),
        ("localhost:5000/me/demo", False),
        ("localhost", False),
        ("box:8080", False),
        ("llama3.2:1", False),
        ("demo", False),
        ("demo:latest", False),
        ("ollama", False),
        ("C:\\models\\x.gguf", False),
        ("folder/ollama:demo.gguf", False),
        ("ftp://host", False),
        ("me:secret@box", True),
        ("", False),
    ],
)
def test_references_to_servers_are_known(text: str, is_one: bool) -> None:
    assert is_server_reference(text) == is_one


def test_a_file_is_no_link_though_its_path_looks_like_one(tmp_path: Path) -> None:
    text = "huggingface.co/a/b/m.gguf"
    (tmp_path / text).parent.mkdir(parents=True)
    (tmp_path / text).touch()

    assert not is_server_reference(text, tmp_path)
    assert is_server_reference(f"https://{text}", tmp_path)
    assert is_server_reference(text, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        pytest.param("ollama:demo", "demo", HOST, id="where the environment says"),
        pytest.param("Ollama: demo ", "demo", HOST, id="capitals and spaces"),
        pytest.param("ollama:demo:q4", "demo:q4", HOST, id="tag"),
        pytest.param("ollama:hf.co/user/repo:Q8_0", "hf.co/user/repo:Q8_0", HOST, id="Hugging Face"),
        pytest.param("ollama:demo@", "demo", HOST, id="no address"),
        pytest.param("ollama:demo@http://127.0.0.1:7000", "demo", "http://127.0.0.1:7000", id="URL"),
        pytest.param("ollama:demo@HTTPS://h/p/", "demo", "https://h:443/p", id="URL with a path"),
        pytest.param("ollama:demo@127.0.0.1:7000", "demo", "http://127.0.0.1:7000", id="host and port"),
        pytest.param("ollama:demo@box", "demo", "http://box:11434", id="host alone"),
        pytest.param("ollama:demo@[::1]:7000", "demo", "http://[::1]:7000", id="IPv6"),
        pytest.param("ollama:demo@0.0.0.0", "demo", "http://127.0.0.1:11434", id="every interface"),
        pytest.param("ollama:hf.co/u/r:Q8_0@box:1", "hf.co/u/r:Q8_0", "http://box:1", id="all of it"),
    ],
)
def test_a_model_of_ollama_is_found(
    text: str, name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "10.0.0.5:9999")

    assert resolve_server_reference(text, tmp_path) == ollama(text, name, address)


def test_without_the_environment_ollama_has_its_default_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLLAMA_HOST")

    assert resolve_server_reference("ollama:demo", tmp_path).address == Address.from_text("http://127.0.0.1:11434")


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("openai:m@http://127.0.0.1:8080", "m", "http://127.0.0.1:8080"),
        ("openai:org/m:tag@https://h/v1", "org/m:tag", "https://h:443"),
        ("openai:@http://127.0.0.1:8080", "", "http://127.0.0.1:8080"),
        ("openai:http://127.0.0.1:8080", "", "http://127.0.0.1:8080"),
        ("openai:m@<http://127.0.0.1:8080>", "m", "http://127.0.0.1:8080"),
        ("openai:m@127.0.0.1:8080", "m", "http://127.0.0.1:8080"),
        ("openai:org/m@v2@box:80/p/v1", "org/m@v2", "http://box:80/p"),
        ("openai: m @[::1]:8080", "m", "http://[::1]:8080"),
    ],
)
def test_a_model_of_a_server_is_found(text: str, name: str, address: str, tmp_path: Path) -> None:
    assert resolve_server_reference(text, tmp_path) == openai(text, name, address)


def test_a_server_alone_is_named_by_its_host_and_port(tmp_path: Path) -> None:
    text = "http://localhost:8080/v1/"

    assert resolve_server_reference(text, tmp_path) == openai(text, "localhost:8080", "http://localhost:8080")
    assert resolve_server_reference("127.0.0.1:1", tmp_path) == openai(
        "127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1"
    )


def test_a_llamafile_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.llamafile"
    path.write_bytes(b"12345")

    assert resolve_server_reference("llamafile:x.llamafile", tmp_path) == ModelInfo(
        reference="llamafile:x.llamafile",
        name="x",
        source="folder",
        path=path,
        size_bytes=5,
        kind="chat",
        engine="llamafile",
    )
    assert resolve_server_reference(f"llamafile: {path}", Path("/")).path == path


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        pytest.param("ollama:", BadOption, "%llm connect http://127.0.0.1:9", id="no model"),
        pytest.param("ollama:@http://h:1", BadOption, "%llm connect http://h:1", id="no model at an address"),
        pytest.param("ollama:m@me:secret@h", BadOption, "without a user", id="password"),
        pytest.param("ollama:m@http://me:secret@h", BadOption, "LOCALLLM_API_KEY", id="password in a URL"),
        pytest.param("openai:m@me:secret@h:1", BadOption, "LOCALLLM_API_KEY", id="password at a host"),
        pytest.param("me:secret@h:1", BadOption, "LOCALLLM_API_KEY", id="password without a scheme"),
        pytest.param("https://hf.co/u/r/resolve/main/x.gguf", BadOption, "%llm load x.gguf", id="a link to a file"),
        pytest.param("openai:m@https://hf.co/u/r", BadOption, "%llm pull ollama:hf.co/u/r", id="a link to a page"),
        pytest.param("ollama:m@bad host", BadOption, "http://127.0.0.1:8080", id="no host"),
        pytest.param("ollama:m@http://[", BadOption, "http://127.0.0.1:8080", id="no URL"),
        pytest.param("openai:m", BadOption, "openai:m@http://127.0.0.1:8080", id="no server"),
        pytest.param("openai:m@box", BadOption, "openai:m@http://127.0.0.1:8080", id="no port"),
        pytest.param("openai:127.0.0.1:8080", BadOption, "Write http://127.0.0.1:8080.", id="an address alone"),
        pytest.param("openai:", BadOption, "openai:MODEL@http", id="nothing"),
        pytest.param("http://", BadOption, "http://127.0.0.1:8080", id="no host in a URL"),
        pytest.param("llamafile:", ModelNotFound, "llamafile:path", id="no file"),
        pytest.param("llamafile:none", ModelNotFound, "llamafile:path", id="missing file"),
        pytest.param("llamafile:.", ModelNotFound, "llamafile:path", id="folder"),
        pytest.param("llamafile:~nobody-of-that-name/x", ModelNotFound, "llamafile:path", id="unknown home"),
        pytest.param("llamafile:a\0b", ModelNotFound, "llamafile:path", id="impossible file"),
        pytest.param("llamafile:" + "x" * 5000, ModelNotFound, "llamafile:path", id="long name"),
    ],
)
def test_an_invalid_reference_is_an_error_with_a_hint(
    text: str, error: type[LocalLLMError], hint: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        resolve_server_reference(text, tmp_path)

    assert hint in caught.value.hint
    assert "secret" not in str(caught.value)
