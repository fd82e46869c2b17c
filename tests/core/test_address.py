import pytest

from localllm_magics.core.address import Address, hide_login
from localllm_magics.core.errors import BadOption


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("http://127.0.0.1:8080", "http://127.0.0.1:8080", id="plain"),
        pytest.param("  http://127.0.0.1:8080/ ", "http://127.0.0.1:8080", id="space and a slash"),
        pytest.param("HTTP://Example.COM:8080", "http://example.com:8080", id="capitals"),
        pytest.param("http://example.com", "http://example.com:80", id="no port"),
        pytest.param("https://example.com", "https://example.com:443", id="no port, TLS"),
        pytest.param("http://example.com:", "http://example.com:80", id="an empty port"),
        pytest.param("http://example.com:65535", "http://example.com:65535", id="the last port"),
        pytest.param("http://localhost:1", "http://localhost:1", id="localhost"),
        pytest.param("http://LOCALHOST.:1", "http://localhost:1", id="localhost, written out"),
        pytest.param("https://localhost:1", "https://localhost:1", id="localhost, as a certificate names it"),
        pytest.param("http://0.0.0.0:1", "http://127.0.0.1:1", id="every interface"),
        pytest.param("https://0.0.0.0:1", "https://127.0.0.1:1", id="every interface, TLS"),
        pytest.param("http://[::]:1", "http://[::1]:1", id="every interface, IPv6"),
        pytest.param("http://[::1]:1", "http://[::1]:1", id="IPv6"),
        pytest.param("http://[FE80::1%Eth0]:1", "http://[fe80::1%Eth0]:1", id="IPv6 with a zone"),
        pytest.param("http://h:1/v1", "http://h:1", id="v1"),
        pytest.param("http://h:1/v1/", "http://h:1", id="v1 and a slash"),
        pytest.param("http://h:1/v1/chat/completions", "http://h:1", id="an endpoint"),
        pytest.param("http://h:1/base/v1/models/", "http://h:1/base", id="an endpoint below a path"),
        pytest.param("http://h:1/v1/other", "http://h:1/v1/other", id="no endpoint of v1"),
        pytest.param("http://h:1/a/models", "http://h:1/a", id="an endpoint without v1"),
        pytest.param("http://h:1//v1//", "http://h:1", id="more slashes"),
        pytest.param("http://h:1/openai/v1/chat/completions", "http://h:1/openai", id="a path and v1"),
        pytest.param("http://h:1/api/v1", "http://h:1/api/v1", id="api and v1"),
        pytest.param("http://h:1/api/v3/chat/completions", "http://h:1/api/v3", id="another version"),
        pytest.param("http://h:1/api", "http://h:1", id="Ollama's base"),
        pytest.param("http://h:1/base/api/generate/", "http://h:1/base", id="Ollama's endpoint"),
        pytest.param("http://h:1/api/chat/completions", "http://h:1", id="Open WebUI's endpoint"),
        pytest.param("http://h:1/v1/models?limit=3", "http://h:1", id="a query"),
        pytest.param("http://h:1/#/chat/1", "http://h:1", id="a page"),
        *(
            pytest.param(f"http://h:1/a/{endpoint}", "http://h:1/a", id=endpoint)
            for endpoint in (
                "v1/models/m",
                "v1/models/org/m",
                "v1/messages",
                "v1/chat",
                "v1/engines",
                "v1/audio/transcriptions",
                "v1/images/generations",
                "slots",
                "metrics",
                "props",
                "openapi.json",
                "docs",
                "index.html",
                "V1",
                "V1/Models",
                "tokenize",
                "rerank",
            )
        ),
        pytest.param("http://h:1/api/v1/models/m", "http://h:1/api/v1", id="an endpoint of api and v1"),
        pytest.param("http://h:1/chat", "http://h:1/chat", id="no endpoint without v1"),
        pytest.param("<http://h:1>", "http://h:1", id="angle brackets"),
        pytest.param("(http://h:1/v1).", "http://h:1", id="brackets and a period"),
        pytest.param("http://h:1/a(b)/", "http://h:1/a(b)", id="brackets in a path"),
        pytest.param("http://h:1).", "http://h:1", id="half a bracket"),
        pytest.param("http://h:1/v1/chat/a", "http://h:1/v1/chat/a", id="no endpoint below chat"),
        pytest.param("`http://h:1`", "http://h:1", id="backticks"),
        pytest.param(" 'http://h:1',", "http://h:1", id="quotation marks and a comma"),
        pytest.param("http://[::1]:1;", "http://[::1]:1", id="IPv6 and a semicolon"),
        pytest.param("https://ollama.com/api", "https://ollama.com:443", id="Ollama's cloud"),
        pytest.param(
            "http://h:1/user/me@x.org/proxy/8080", "http://h:1/user/me@x.org/proxy/8080", id="an @ in the path"
        ),
        pytest.param("http://h:1/my/v1x", "http://h:1/my/v1x", id="a path"),
        pytest.param("http://bücher.example:1", "http://bücher.example:1", id="not ASCII"),
    ],
)
def test_a_url_is_an_address(text: str, url: str) -> None:
    address = Address.from_text(text)

    assert address.url == str(address) == url
    assert Address.from_text(url) == address


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("127.0.0.1:8080", id="no scheme"),
        pytest.param("localhost", id="a name"),
        pytest.param("ftp://h", id="another scheme"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("http://", id="no host"),
        pytest.param("http://:8080", id="a port alone"),
        pytest.param("http://h:0", id="port 0"),
        pytest.param("http://h:65536", id="a port too large"),
        pytest.param("http://h:-1", id="a port too small"),
        pytest.param("http://h:eighty", id="a port in letters"),
        pytest.param("http://[::1", id="half a bracket"),
        pytest.param("http://a b", id="a space"),
        pytest.param("http://a\\b", id="a backslash"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadOption) as caught:
        Address.from_text(text)

    assert caught.value.hint == "Write it like http://127.0.0.1:8080."


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("http://me:hunter2@h:1", id="user and password"),
        pytest.param("http://hunter2@h:1", id="a user"),
        pytest.param("http://me:hunter2@h:bad", id="and a bad port"),
        pytest.param("ftp://me:hunter2@h", id="and another scheme"),
        pytest.param("http://me:hunter2@[::1", id="and half a bracket"),
        pytest.param("http://me:hunter2/x@h", id="with a slash in it"),
        pytest.param("me:hunter2@h", id="no scheme"),
    ],
)
def test_a_password_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(BadOption, match="no password") as caught:
        Address.from_text(text)

    assert "hunter2" not in str(caught.value)
    assert "LOCALLLM_API_KEY: Basic USER:PASSWORD" in caught.value.hint


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        pytest.param("http://me:hunter2@h:1", "http://…@h:1", id="URL"),
        pytest.param("openai:m@HTTPS://me:hunter2@h:1", "openai:m@HTTPS://…@h:1", id="model at a URL"),
        pytest.param("openai:m@me:hunter2@h:1", "openai:m@…@h:1", id="model at a host"),
        pytest.param("http://hunter2@h/a@b", "http://…@b", id="with another @"),
        pytest.param("me:hunter2@h:1", "…@h:1", id="no scheme"),
        pytest.param("me:p@hunter2@h", "…@h", id="no scheme, with two @"),
        pytest.param("ftp://me:hunter2@h", "…@h", id="another scheme"),
        pytest.param("http://h/user/me@x.org/proxy/8080", "http://h/user/me@x.org/proxy/8080", id="an @ in a path"),
        pytest.param("openai:a:b@h:1", "openai:a:b@h:1", id="a model with a tag"),
        pytest.param("openai:@cf/x:y@h:80", "openai:@cf/x:y@h:80", id="a model with an @"),
        pytest.param("llamafile:a:b@c", "llamafile:a:b@c", id="a file"),
        pytest.param("C:\\a@b", "C:\\a@b", id="a path"),
        pytest.param("demo", "demo", id="a name"),
    ],
)
def test_a_reference_is_shown_without_user_and_password(reference: str, shown: str) -> None:
    assert hide_login(reference) == shown


@pytest.mark.parametrize(
    ("text", "to_type"),
    [
        pytest.param(
            "https://huggingface.co/u/r/resolve/main/x.Q4_K_M.gguf?download=true",
            "!curl -LO https://huggingface.co/u/r/resolve/main/x.Q4_K_M.gguf  and  %llm load x.Q4_K_M.gguf",
            id="a file",
        ),
        pytest.param(
            "https://huggingface.co/u/r/blob/main/x.GGUF",
            "!curl -LO https://huggingface.co/u/r/resolve/main/x.GGUF  and  %llm load x.GGUF",
            id="a page about a file",
        ),
        pytest.param("http://h:8080/x.llamafile", "%llm load llamafile:x.llamafile", id="a llamafile"),
        pytest.param("https://huggingface.co/u/r/tree/main", "%llm pull ollama:hf.co/u/r", id="a repository"),
        pytest.param("https://hf.co/", "%llm pull ollama:hf.co/USER/REPOSITORY", id="all repositories"),
        pytest.param("https://ollama.com/library/llama3.2:1b", "%llm pull ollama:llama3.2:1b", id="a page of Ollama"),
        pytest.param("https://www.ollama.com/u/m", "%llm pull ollama:u/m", id="somebody's model"),
    ],
)
def test_a_link_to_a_model_is_no_address(text: str, to_type: str) -> None:
    with pytest.raises(BadOption, match="to download, and no server") as caught:
        Address.from_text(text)

    assert caught.value.hint.endswith(to_type)


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        pytest.param("http://127.0.0.1", True, id="IPv4"),
        pytest.param("http://127.8.9.1", True, id="all of 127"),
        pytest.param("http://[::1]", True, id="IPv6"),
        pytest.param("http://localhost", True, id="localhost"),
        pytest.param("https://localhost", True, id="localhost, TLS"),
        pytest.param("http://model.localhost", True, id="below localhost"),
        pytest.param("http://notlocalhost", False, id="a name like it"),
        pytest.param("http://localhost.example.com", False, id="a name that begins so"),
        pytest.param("http://127.0.0.1.example.com", False, id="a name that begins with digits"),
        pytest.param("http://192.168.0.1", False, id="a neighbour"),
        pytest.param("http://[fe80::1%eth0]", False, id="a neighbour, IPv6"),
    ],
)
def test_this_machine_is_distinguished_from_others(url: str, is_loopback: bool) -> None:
    assert Address.from_text(url).is_loopback == is_loopback


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        pytest.param("http://localhost:1", ("127.0.0.1", "::1"), id="localhost"),
        pytest.param("http://127.0.0.1:1", ("127.0.0.1",), id="IPv4, which nobody else is meant by"),
        pytest.param("http://0.0.0.0:1", ("127.0.0.1",), id="every interface"),
        pytest.param("http://[::1]:1", ("::1",), id="IPv6"),
        pytest.param("http://h:1", ("h",), id="another machine"),
    ],
)
def test_localhost_is_tried_at_both_its_addresses(url: str, hosts: tuple[str, ...]) -> None:
    address = Address.from_text(url)

    assert (address.host, *address.other_hosts) == hosts


def test_localhost_is_the_same_server_as_its_usual_address() -> None:
    assert Address.from_text("http://localhost:1") == Address.from_text("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("h:1", "http://h:1", id="host and port"),
        pytest.param("<h:1>,", "http://h:1", id="brackets and a comma"),
        pytest.param("[::1]:2/v1", "http://[::1]:2", id="IPv6"),
        pytest.param("https://h:1", "https://h:1", id="URL"),
    ],
)
def test_people_may_leave_the_scheme_out(text: str, url: str) -> None:
    assert Address.from_typed(text).url == url
