from collections.abc import Mapping

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import BadOption
from localllm_magics.engines.server.connection import Connection
from localllm_magics.engines.server.settings import ServerSettings

HERE, THERE = "http://127.0.0.1:8080", "https://gpu.example.com"


@pytest.mark.parametrize(
    ("url", "environment", "key"),
    [
        pytest.param(HERE, {}, None, id="none here"),
        pytest.param(THERE, {}, None, id="none there"),
        pytest.param(THERE, {"LOCALLLM_API_KEY": "k"}, "k", id="ours goes to every named server"),
        pytest.param(THERE, {"LOCALLLM_API_KEY": " k\n"}, "k", id="space around it"),
        pytest.param(THERE, {"LOCALLLM_API_KEY": "  "}, None, id="empty"),
        pytest.param(HERE, {"LOCALLLM_API_KEY": "k", "OPENAI_API_KEY": "o"}, "k", id="ours before others"),
        pytest.param(HERE, {"OPENAI_API_KEY": "o"}, None, id="OpenAI's does not"),
        pytest.param(THERE, {"OPENAI_API_KEY": "o"}, None, id="OpenAI's does not, elsewhere"),
        pytest.param(HERE, {"LLAMA_API_KEY": "l", "VLLM_API_KEY": "v", "OLLAMA_API_KEY": "x"}, None, id="nor others"),
    ],
)
def test_a_key_goes_only_where_it_is_meant_for(url: str, environment: Mapping[str, str], key: str | None) -> None:
    assert ServerSettings().find_key(Address.from_text(url), environment) == key


@pytest.mark.parametrize(
    ("url", "key"),
    [
        pytest.param(f"{THERE}/v1/", "mine", id="the server, as it may be written"),
        pytest.param("https://GPU.example.com:443", "mine", id="the server, written out"),
        pytest.param("http://gpu.example.com", "ours", id="another scheme"),
        pytest.param("https://gpu.example.com:444", "ours", id="another port"),
        pytest.param("https://gpu.example.com.evil.example", "ours", id="another host"),
        pytest.param("https://gpu.example.com/other", "ours", id="another path"),
    ],
)
def test_a_server_may_have_a_key_of_its_own(url: str, key: str) -> None:
    environment = {"MY_KEY": "mine", "LOCALLLM_API_KEY": "ours"}
    settings = ServerSettings(key_variables={THERE: "MY_KEY"})

    assert settings.find_key(Address.from_text(url), environment) == key


def test_the_key_of_a_service_goes_where_the_user_has_sent_it() -> None:
    environment = {"OPENAI_API_KEY": "paid"}
    settings = ServerSettings(key_variables={THERE: "OPENAI_API_KEY"})

    assert settings.find_key(Address.from_text(THERE), environment) == "paid"
    assert settings.find_key(Address.from_text(HERE), environment) is None


def test_where_the_own_key_is_not_set_the_common_one_is_used() -> None:
    settings = ServerSettings(key_variables={THERE: "MY_KEY"})

    assert settings.find_key(Address.from_text(THERE), {"LOCALLLM_API_KEY": "ours"}) == "ours"


def test_a_server_of_a_key_must_be_a_url() -> None:
    with pytest.raises(BadOption):
        ServerSettings(key_variables={"gpu": "MY_KEY"}).find_key(Address.from_text(THERE), {})


def test_a_server_that_nobody_named_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_API_KEY", "ours")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    address, settings = Address.from_text(HERE), ServerSettings(key_variables={HERE: "OPENAI_API_KEY"})

    assert Connection.to(address, settings, to_start="", is_named=False).secret.key == ""
    assert Connection.to(address, settings, to_start="").secret.key == "theirs"
    assert Connection.to(address, ServerSettings(), to_start="").secret.key == "ours"


def test_a_key_that_is_set_later_is_used_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection.to(Address.from_text(HERE), ServerSettings(), to_start="")
    monkeypatch.delenv("LOCALLLM_API_KEY", raising=False)
    before = connection.secret.key

    monkeypatch.setenv("LOCALLLM_API_KEY", "new")

    assert (before, connection.secret.key) == ("", "new")
