from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.llama_server import LlamaCppServer, LlamaServer
from tests.server.server_process import ServerDied, free_port

ENDLESS = {"prompt": "The fox", "stream": True, "n_predict": -1, "ignore_eos": True, "temperature": 1.5}
SHORT = {"model": "demo", "messages": [{"role": "user", "content": "What is a token?"}], "max_tokens": 3}


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def test_a_server_is_ready_and_idle(llama_server: LlamaServer) -> None:
    assert [slot["n_ctx"] for slot in llama_server.slots()] == [1024, 1024]
    assert not llama_server.is_busy


def test_a_server_is_busy_until_its_client_leaves(llama_server: LlamaServer, http: httpx.Client) -> None:
    with http.stream("POST", f"{llama_server.address}/completion", json=ENDLESS) as response:
        pieces = response.iter_lines()  # kept, since dropping it closes the connection
        next(pieces)
        was_busy = llama_server.is_busy
    llama_server.wait_until_idle()

    assert was_busy


def test_a_killed_server_comes_back_at_the_same_address(demo_gguf: Path, http: httpx.Client) -> None:
    with LlamaServer(demo_gguf, "-c", "256", "-np", "1", "--context-shift") as server:
        address = server.address
        with http.stream("POST", f"{address}/completion", json=ENDLESS) as response:
            pieces = response.iter_raw()
            next(pieces)
            server.kill()
            with pytest.raises(httpx.HTTPError):
                list(pieces)
        was_running = server.is_running
        server.restart()

        assert not was_running
        assert http.get(f"{address}/health").status_code == 200
    assert not server.is_running


def test_a_router_has_the_models_of_a_folder(demo_gguf: Path, http: httpx.Client) -> None:
    with LlamaServer(demo_gguf.parent, "--models-max", "1") as server:
        models = http.get(f"{server.address}/models").json()["data"]
        answer = http.post(f"{server.address}/v1/chat/completions", json=SHORT)

        assert [(model["id"], model["status"]["value"]) for model in models] == [("demo", "unloaded")]
        assert answer.json()["usage"]["completion_tokens"] == 3


def test_a_model_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_text("no model")

    with pytest.raises(ServerDied, match="invalid magic"), LlamaServer(tmp_path / "bad.gguf"):
        pytest.fail("it started")


def test_the_server_of_llama_cpp_python_answers(demo_gguf: Path, http: httpx.Client) -> None:
    with LlamaCppServer(demo_gguf, "--n_ctx", "256") as server:
        answer = http.post(f"{server.address}/v1/chat/completions", json=SHORT)

        assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_free_port_is_free() -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{free_port()}/", trust_env=False)
