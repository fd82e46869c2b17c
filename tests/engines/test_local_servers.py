import pytest

from localllm_magics.core.address import Address
from localllm_magics.engines.local_servers import how_to_start


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("http://127.0.0.1:11434", "in a terminal: ollama serve", id="Ollama"),
        pytest.param("http://[::1]:11434", "OLLAMA_HOST=[::1]:11434 ollama serve", id="Ollama, IPv6"),
        pytest.param("http://127.0.0.1:9", "OLLAMA_HOST=127.0.0.1:9 ollama serve", id="where the environment says"),
        pytest.param("http://127.0.0.1:8080", "llama-server -m model.gguf --port 8080", id="llama-server"),
        pytest.param("http://127.0.0.1:1234", "lms server start --port 1234", id="LM Studio"),
        pytest.param(
            "http://127.0.0.1:8000",
            "python -m llama_cpp.server --model model.gguf --port 8000",
            id="llama_cpp.server",
        ),
        pytest.param("http://localhost:80", "Add the port, for example: %llm connect", id="an address without a port"),
        pytest.param("http://127.0.0.1:7777", "llama-server -m model.gguf --port 7777", id="another port"),
        pytest.param("http://models.example:8080", "%llm connect http://models.example:8080", id="another machine"),
    ],
)
def test_how_to_start_a_server_depends_on_its_address(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")

    assert words in how_to_start(Address.from_text(url))


def test_an_ollama_is_started_at_any_port() -> None:
    hint = how_to_start(Address.from_text("http://127.0.0.1:7777"), is_ollama=True)

    assert hint == "To start Ollama, type in a terminal: OLLAMA_HOST=127.0.0.1:7777 ollama serve"
