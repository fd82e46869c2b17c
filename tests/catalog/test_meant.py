import pytest

from localllm_magics.catalog.meant import meant
from localllm_magics.core.hints import LIST_MODELS


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("m@http://h:1/v1", "To ask a model of a server, write openai:m@http://h:1/v1"),
        ("openai/org/m@https://h", "To ask a model of a server, write openai:org/m@https://h"),
        ("Ollama/m@http://h:1", "To ask a model of a server, write ollama:m@http://h:1"),
        ("http:/h:1", "To ask a server, write http://h:1"),
        ("HTTPS:/h:1/v1", "To ask a server, write https://h:1/v1"),
        ("tcp://h:1", "To ask a server, write http://h:1"),
    ],
)
def test_an_address_is_written_as_it_is_understood(text: str, hint: str) -> None:
    assert meant(text) == hint


@pytest.mark.parametrize(
    ("text", "start", "name"),
    [
        ("TheBloke/x-GGUF", f"{LIST_MODELS} If it is a repository of Hugging Face: ", "hf.co/TheBloke/x-GGUF"),
        ("hf.co/a/b", "This is a repository of Hugging Face. ", "hf.co/a/b"),
        ("hf.co/a/b:Q4_K_M", "This is a repository of Hugging Face. ", "hf.co/a/b:Q4_K_M"),
        ("huggingface.co/a/b", "This is a repository of Hugging Face. ", "hf.co/a/b"),
        ("modelscope.cn/a/b", "This is a repository of ModelScope. ", "modelscope.cn/a/b"),
    ],
)
def test_a_repository_is_to_be_downloaded(text: str, start: str, name: str) -> None:
    hint = meant(text)

    assert hint.startswith(start)
    assert hint.endswith(f" %llm pull ollama:{name}")


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a/x.gguf",
        "./a/b",
        "~a/b",
        "/a/b",
        "a/b/c/d",
        "host.example/a/b",
        "ftp://h",
        "C:/x",
        "m@http://me:hunter2@h",
        "tcp://me:hunter2@h:1",
    ],
)
def test_of_anything_else_nothing_is_guessed(text: str) -> None:
    assert meant(text) == ""
