import pytest

from localllm_magics.engines.ollama.name import name_of_parts, parse_name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("qwen3", ("registry.ollama.ai", "library", "qwen3", "latest"), id="model"),
        pytest.param("qwen3:0.6b", ("registry.ollama.ai", "library", "qwen3", "0.6b"), id="tag"),
        pytest.param("me/qwen3", ("registry.ollama.ai", "me", "qwen3", "latest"), id="namespace"),
        pytest.param("hf.co/me/x-GGUF:Q8_0", ("hf.co", "me", "x-GGUF", "Q8_0"), id="host"),
        pytest.param("localhost:5000/me/x:y", ("localhost:5000", "me", "x", "y"), id="port"),
    ],
)
def test_what_a_name_leaves_out_is_filled_in(text: str, parts: tuple[str, ...]) -> None:
    name = parse_name(text)

    assert name is not None
    assert (name.host, name.namespace, name.model, name.tag) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", "x/", "/x", "//x", "a//x", "x:", ":x", "x:a:b", ".", "./x", "../x", "a/../x", "~/x", "-x"),
        *("a/b/c/d", "a b", "x\n", "x\x1b[2J", "x\0", "http://localhost:1/v1", "é", "x" * 81, "C:\\x"),
    ],
)
def test_what_ollama_would_not_have_is_no_name(text: str) -> None:
    assert parse_name(text) is None


@pytest.mark.parametrize(
    ("name", "shown", "typed"),
    [
        ("registry.ollama.ai/library/qwen3:latest", "qwen3:latest", "qwen3"),
        ("Registry.Ollama.AI/Library/Qwen3:Latest", "Qwen3:Latest", "Qwen3"),
        ("registry.ollama.ai/me/qwen3:0.6b", "me/qwen3:0.6b", "me/qwen3:0.6b"),
        ("hf.co/me/x-GGUF:latest", "hf.co/me/x-GGUF:latest", "hf.co/me/x-GGUF"),
    ],
)
def test_a_name_is_shown_as_ollama_shows_it(name: str, shown: str, typed: str) -> None:
    whole = parse_name(name)

    assert whole is not None
    assert (str(whole), whole.reference) == (shown, typed)
    assert [parsed and parsed.key for parsed in (parse_name(shown), parse_name(typed))] == [whole.key] * 2


def test_names_that_differ_in_case_are_the_same() -> None:
    upper, lower = parse_name("HF.co/Me/X:Q8_0"), parse_name("hf.co/me/x:q8_0")

    assert upper is not None
    assert lower is not None
    assert upper.key == lower.key


def test_parts_that_are_no_name_make_none() -> None:
    assert name_of_parts("hf.co", "me", "x", ".DS_Store") is None
