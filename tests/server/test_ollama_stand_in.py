import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.server.llama_server import llama_server_program
from tests.server.ollama_runners import Load
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.recordings import load
from tests.server.waiting import wait_until

TOKEN = [{"role": "user", "content": "What is a token?"}]
GREEDY = {"temperature": 0, "seed": 1}
QUESTION = {"model": "demo", "messages": TOKEN}
IMPATIENT = httpx.Timeout(60, read=0.1)
MANY_WORDS = [{"role": "user", "content": "word " * 3000}]
# They list models that the stand-in does not have.
OTHER = {("fill-window", "/api/ps"), ("num-ctx", "/api/ps"), ("num-gpu", "/api/ps")}
RECORDED = """
    chat-cold chat-warm chat-conversation generate length stop seed long-history num-ctx num-gpu load-unload
    keep-alive-bad ps-empty show format
""".split()


@pytest.fixture
def http(stand_in: OllamaStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stand_in.address, trust_env=False, timeout=60) as client:
        yield client


def shape(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The names and types in VALUE; lists count by their first element, numbers and metadata not at all."""
    match value:
        case {"model_info": _}:
            return sorted(value.keys())
        case dict():
            return {key: shape(item) for key, item in value.items() if key not in {"error", "_debug_info"}}
        case [first, *_]:
            return [shape(first)]
        case _:
            return type(value).__name__


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def ends(body: bytes) -> list[object]:
    """The shapes of the first and the last line of BODY, and why it ended."""
    first, last = lines(body)[0], lines(body)[-1]
    return [shape(first), shape(last), last.get("done_reason")]


@pytest.mark.parametrize("name", RECORDED)
def test_answers_have_the_shape_of_the_recorded_ones(name: str, http: httpx.Client) -> None:
    for exchange in load("ollama", name):
        if (name, exchange.request.path) in OTHER:
            continue
        request, recorded = exchange.request, exchange.response
        response = http.request(request.method, request.path, content=request.body)

        assert response.status_code == recorded.status, exchange.request
        assert ends(response.content) == ends(recorded.body), exchange.request


def test_a_prompt_that_is_too_long_is_cut_or_refused_as_recorded(http: httpx.Client) -> None:
    exchanges = load("ollama", "overlong")

    responses = [http.post(e.request.path, content=e.request.body) for e in exchanges]

    assert [r.status_code for r in responses] == [e.response.status for e in exchanges]
    assert [prompt_size(r.content) for r in responses] == [prompt_size(e.response.body) for e in exchanges]


def prompt_size(body: bytes) -> object:
    """How much of the prompt was read; of a refusal, the message without its numbers."""
    last = lines(body)[-1]
    return last["prompt_eval_count"] if "error" not in last else "".join(c for c in last["error"] if not c.isdigit())


def test_an_answer_is_that_of_the_demo_model(http: httpx.Client) -> None:
    response = http.post("/api/chat", json={"model": "demo", "messages": TOKEN, "options": GREEDY})

    *pieces, last = lines(response.content)
    assert "".join(piece["message"]["content"] for piece in pieces).startswith("A token is a word")
    assert last["eval_count"] == len(pieces) + 1  # the end token counts


def test_another_window_or_placement_loads_the_model_again(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    for options in (
        {"num_ctx": 512},
        {"num_ctx": 512, "seed": 2},
        {"num_ctx": 512, "num_gpu": 0},
        {"num_ctx": 512},
        {},
    ):
        http.post("/api/chat", json={"model": "demo", "messages": TOKEN, "options": {"num_predict": 1, **options}})

    assert stand_in.loads == [
        Load(model="demo:latest", num_ctx=512),
        Load(model="demo:latest", num_ctx=512, num_gpu=0),
        Load(model="demo:latest", num_ctx=1024),
    ]


def test_a_loaded_model_is_listed_until_it_is_unloaded(http: httpx.Client) -> None:
    http.post("/api/generate", json={"model": "demo", "keep_alive": -1, "options": {"num_ctx": 512}})
    (model,) = http.get("/api/ps").json()["models"]
    http.post("/api/generate", json={"model": "demo", "keep_alive": 0})

    assert (model["name"], model["context_length"], model["size_vram"]) == ("demo:latest", 512, 0)
    assert model["expires_at"] > "2300"
    assert http.get("/api/ps").json() == {"models": []}


def test_the_share_on_a_gpu_is_told(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.vram_share = 0.5
    http.post("/api/generate", json={"model": "demo"})

    (model,) = http.get("/api/ps").json()["models"]
    assert model["size_vram"] == model["size"] // 2


def test_an_answer_with_no_time_to_stay_unloads_the_model(http: httpx.Client) -> None:
    http.post("/api/chat", json={"model": "demo", "messages": TOKEN, "keep_alive": 0, "options": GREEDY})

    assert http.get("/api/ps").json() == {"models": []}


def test_unloading_lets_an_answer_go_on(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with http.stream("POST", "/api/chat", json=QUESTION) as response:
        pieces = response.iter_lines()
        next(pieces)
        http.post("/api/generate", json={"model": "demo", "keep_alive": 0})
        goes_on = bool(next(pieces))
        is_listed = bool(http.get("/api/ps").json()["models"])

    assert goes_on
    assert is_listed
    wait_until(lambda: not http.get("/api/ps").json()["models"], "unloaded")


def test_leaving_makes_the_slot_free(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with http.stream("POST", "/api/chat", json=QUESTION) as response:
        pieces = response.iter_lines()  # kept, since dropping it closes the connection
        next(pieces)
        busy = stand_in.upstream_slots_busy()

    assert busy == 1
    assert stand_in.client_left.wait(60)
    wait_until(lambda: stand_in.upstream_slots_busy() == 0, "idle")


def test_a_second_request_waits_for_the_first(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with http.stream("POST", "/api/chat", json=QUESTION) as response:
        pieces = response.iter_lines()  # kept, since dropping it closes the connection
        next(pieces)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/api/chat", json=QUESTION | {"options": {"num_predict": 1}}, timeout=IMPATIENT)

    assert stand_in.client_left.wait(60)


def test_leaving_a_cold_load_loads_nothing(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 60

    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/chat", json=QUESTION, timeout=IMPATIENT)

    assert stand_in.client_left.wait(60)
    assert http.get("/api/ps").json() == {"models": []}
    assert stand_in.loads == []


def test_the_death_of_the_engine_is_the_last_line(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    with http.stream("POST", "/api/chat", json=QUESTION) as response:
        pieces = response.iter_lines()
        next(pieces)
        stand_in.kill_engine()
        *_, last = pieces

    recorded = load("ollama", "runner-dies")[0].response.body
    assert json.loads(last) == lines(recorded)[-1]
    assert http.post("/api/generate", json={"model": "demo"}).json()["done_reason"] == "load"


@pytest.mark.parametrize("name", ["errors-before-stream", "pull-fails"])
def test_refusals_are_the_recorded_ones(name: str, http: httpx.Client) -> None:
    for exchange in load("ollama", name):
        request, recorded = exchange.request, exchange.response
        if recorded.status == 200 or request.path == "/api/embed":
            continue
        response = http.request(request.method, request.path, content=request.body)

        assert (response.status_code, response.text) == (recorded.status, recorded.body.decode()), request


def test_a_file_that_is_no_model_is_refused(http: httpx.Client, stand_in: OllamaStandIn, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_text("no model")
    stand_in.store("bad", tmp_path / "bad.gguf")

    response = http.post("/api/chat", json={"model": "bad", "messages": TOKEN})

    assert (response.status_code, response.json()) == (500, {"error": "invalid file magic"})


def test_a_model_that_does_not_load_is_refused(
    http: httpx.Client, stand_in: OllamaStandIn, tmp_path: Path, demo_gguf: Path
) -> None:
    data = demo_gguf.read_bytes().replace(b"llama", b"nllma")
    (tmp_path / "odd.gguf").write_bytes(data)
    stand_in.store("odd", tmp_path / "odd.gguf")

    response = http.post("/api/chat", json={"model": "odd", "messages": TOKEN})

    assert response.status_code == 500
    assert "unknown model architecture: 'nllma'" in response.json()["error"]


def test_a_pulled_model_is_stored(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.pull_may_finish.clear()
    with http.stream("POST", "/api/pull", json={"model": "tiny"}) as response:
        pieces = response.iter_lines()
        first = next(pieces)
        before = http.get("/api/tags").json()["models"]
        stand_in.pull_may_finish.set()
        progress = [json.loads(piece) for piece in pieces]

    assert json.loads(first) == {"status": "pulling manifest"}
    assert len({line["digest"] for line in progress if "digest" in line}) == 2
    assert progress[-1] == {"status": "success"}
    assert [model["name"] for model in before] == ["demo:latest"]
    assert {model["name"] for model in http.get("/api/tags").json()["models"]} == {"demo:latest", "tiny:latest"}


def test_a_pull_that_is_left_stores_nothing(http: httpx.Client, stand_in: OllamaStandIn) -> None:
    stand_in.pull_may_finish.clear()
    with http.stream("POST", "/api/pull", json={"model": "tiny"}) as response:
        pieces = response.iter_lines()  # kept, since dropping it closes the connection
        next(pieces)

    assert stand_in.client_left.wait(60)
    assert len(http.get("/api/tags").json()["models"]) == 1


def test_a_name_that_nobody_has_fails_after_the_first_line(http: httpx.Client) -> None:
    response = http.post("/api/pull", json={"model": "missing"})

    assert response.status_code == 200
    assert lines(response.content)[-1] == {"error": "pull model manifest: file does not exist"}


def test_a_server_leaves_no_thread_and_no_process(demo_gguf: Path) -> None:
    threads, processes = set(threading.enumerate()), set(psutil.Process().children())
    with OllamaStandIn(llama_server_program(), demo_gguf) as server, httpx.Client(trust_env=False) as client:
        client.post(f"{server.address}/api/generate", json={"model": "demo"})
        started = set(psutil.Process().children()) - processes

    assert len(started) == 1
    assert set(threading.enumerate()) <= threads
    assert set(psutil.Process().children()) <= processes
