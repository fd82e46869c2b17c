import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.engines.ollama.address import ollama_address, parse_typed_host


@pytest.mark.parametrize(
    ("value", "url"),
    # Those of TestHost in envconfig/config_test.go of Ollama, where a client can connect to the result.
    [
        pytest.param("", "http://127.0.0.1:11434", id="empty"),
        pytest.param("1.2.3.4", "http://1.2.3.4:11434", id="only address"),
        pytest.param(":1234", "http://127.0.0.1:1234", id="only port"),
        pytest.param("1.2.3.4:1234", "http://1.2.3.4:1234", id="address and port"),
        pytest.param("example.com", "http://example.com:11434", id="hostname"),
        pytest.param("example.com:1234", "http://example.com:1234", id="hostname and port"),
        pytest.param(":0", "http://127.0.0.1:11434", id="zero port"),
        pytest.param(":66000", "http://127.0.0.1:11434", id="too large port"),
        pytest.param(":-1", "http://127.0.0.1:11434", id="too small port"),
        pytest.param("h:²", "http://h:11434", id="a port that is no number"),
        pytest.param("[::1]", "http://[::1]:11434", id="ipv6 localhost"),
        pytest.param("[::]", "http://[::1]:11434", id="ipv6 world open"),
        pytest.param("[::]:1234", "http://[::1]:1234", id="ipv6 world open and port"),
        pytest.param("0.0.0.0", "http://127.0.0.1:11434", id="world open"),  # noqa: S104 - nothing is bound
        pytest.param("0.0.0.0:1234", "http://127.0.0.1:1234", id="world open and port"),
        pytest.param("localhost:1234", "http://localhost:1234", id="localhost"),
        pytest.param("::1", "http://[::1]:11434", id="ipv6 no brackets"),
        pytest.param("[::1]:1337", "http://[::1]:1337", id="ipv6 + port"),
        pytest.param("fe80::1%eth0", "http://[fe80::1%eth0]:11434", id="ipv6 with a zone"),
        pytest.param("[fe80::1%eth0]:5", "http://[fe80::1%eth0]:5", id="ipv6 with a zone + port"),
        pytest.param("[fe80::1%eth0]", "http://[fe80::1%eth0]:11434", id="ipv6 with a zone in brackets"),
        pytest.param(" 1.2.3.4 ", "http://1.2.3.4:11434", id="extra space"),
        pytest.param('"1.2.3.4"', "http://1.2.3.4:11434", id="extra quotes"),
        pytest.param(' " 1.2.3.4 " ', "http://1.2.3.4:11434", id="extra space+quotes"),
        pytest.param("'1.2.3.4'", "http://1.2.3.4:11434", id="extra single quotes"),
        pytest.param("http://1.2.3.4", "http://1.2.3.4:80", id="http"),
        pytest.param("http://1.2.3.4:4321", "http://1.2.3.4:4321", id="http port"),
        pytest.param("https://1.2.3.4", "https://1.2.3.4:443", id="https"),
        pytest.param("https://1.2.3.4:4321", "https://1.2.3.4:4321", id="https port"),
        pytest.param("https://example.com/ollama", "https://example.com:443/ollama", id="proxy path"),
        pytest.param("https://example.com/", "https://example.com:443", id="a slash"),
        pytest.param("ollama.com", "https://ollama.com:443", id="ollama.com"),
        pytest.param("tcp://1.2.3.4", "http://1.2.3.4:11434", id="another scheme"),
        pytest.param("http://me:hunter2@1.2.3.4:5", "http://1.2.3.4:5", id="a password, which is not sent"),
    ],
)
def test_the_environment_is_read_as_ollama_reads_it(value: str, url: str) -> None:
    address = ollama_address({"OLLAMA_HOST": value})

    assert address.url == url
    assert Address.from_text(url) == address


def test_without_the_variable_ollama_is_at_its_usual_place() -> None:
    assert ollama_address({}).url == "http://127.0.0.1:11434"


@pytest.mark.parametrize("text", ["a b", "a\\b", "h\nx", "hf.co/u/r"])
def test_what_a_user_types_must_be_an_address(text: str) -> None:
    with pytest.raises(BadOption, match=r"is no address|to download"):
        parse_typed_host(text)


def test_a_user_types_an_address_as_ollama_reads_it() -> None:
    assert parse_typed_host("192.168.1.5:5").url == "http://192.168.1.5:5"
