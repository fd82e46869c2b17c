"""Answers of a real Ollama, as they were recorded, and broken in every way."""

import json
import threading
from typing import Any, get_args

import pytest

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import (
    AccessDenied,
    BadOption,
    DaemonBusy,
    DaemonError,
    EngineCrashed,
    LoadFailed,
    LocalLLMError,
    ModelNotInDaemon,
    PromptTooLong,
    StreamBroken,
    UnsupportedArchitecture,
)
from localllm_magics.core.events import Done, Failed, Reading
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import Message
from localllm_magics.core.request import Request
from tests.engines.ollama.asking import END, HEAD, bodies, model_of, saying, script, telling
from tests.server.conftest import MakeFaultServer, Recording
from tests.server.faults import Close, Flood, Hold, Reset, Send, Step, Wait
from tests.server.http_bytes import chunk, chunked, http_response
from tests.server.recordings import Exchange, load, names
from tests.server.replay import Cutting, ReplayServer
from tests.server.waiting import wait_until

PIECE = {"message": {"content": "So"}}


def is_streamed(exchange: Exchange) -> bool:
    request, response = exchange.request, exchange.response
    is_asked = request.path == "/api/chat" or (request.path == "/api/generate" and request.json.get("raw"))
    is_whole = response.status == 200 and response.end == "complete" and b'"done_reason"' in response.body
    return bool(is_asked and is_whole and request.json.get("messages", True) and request.json.get("stream", True))


STREAMED = [
    pytest.param(exchange, id=f"{name} {number}")
    for name in names("ollama")
    for number, exchange in enumerate(load("ollama", name))
    if is_streamed(exchange)
]


def to_request(exchange: Exchange) -> Request:
    body = exchange.request.json
    messages = body.get("messages", [{"role": "user", "content": body.get("prompt")}])
    roles = {"robot": "user"}  # recorded, but none that can be asked for here
    return Request(
        messages=tuple(Message.from_text(roles.get(m["role"], m["role"]), m["content"]) for m in messages),
        raw=body.get("raw", False),
    )


def answer(exchange: Exchange, cutting: Cutting, seed: int = 0) -> Completion:
    with ReplayServer([exchange], cutting, seed=seed) as server:
        model = model_of(server, exchange.request.json["model"])
        with model.start(Generation(to_request(exchange), model.status().model)) as stream:
            return stream.completion()


def spelled(exchange: Exchange) -> tuple[str, dict[str, Any]]:
    """The text of an answer, and its last record."""
    said = [json.loads(line) for line in exchange.response.body.split(b"\n") if line]
    return "".join(line["message"]["content"] if "message" in line else line["response"] for line in said), said[-1]


@pytest.mark.parametrize("exchange", STREAMED)
def test_a_recorded_answer_is_the_same_however_it_is_cut(exchange: Exchange) -> None:
    text, last = spelled(exchange)

    completions = [answer(exchange, cutting) for cutting in get_args(Cutting)]

    assert [completion.text for completion in completions] == [text] * 4
    assert [completion.finish_reason for completion in completions] == [last["done_reason"]] * 4
    for stats in (completion.stats for completion in completions):
        assert (stats.prompt_tokens, stats.completion_tokens) == (last["prompt_eval_count"], last["eval_count"])
        assert stats.tokens_per_second == pytest.approx((last["eval_count"] - 1) / last["eval_duration"] * 1e9)
        assert stats.load_seconds == pytest.approx(last["load_duration"] / 1e9)
        assert stats.ttft_seconds <= stats.total_seconds
        assert not stats.estimated


def test_many_recorded_answers_are_asked_for() -> None:
    assert len(STREAMED) > 25


def test_bytes_cut_anyhow_are_the_same_answer() -> None:
    exchange = load("ollama", "unicode")[1]
    text, _ = spelled(exchange)

    assert [answer(exchange, "random", seed).text for seed in range(8)] == [text] * 8


def test_a_repeated_prompt_has_no_rate_of_reading(ollama_recording: Recording) -> None:
    server = ollama_recording("long-prefill")
    model = model_of(server, "slow")
    prompt = load("ollama", "long-prefill")[0].request.json["messages"][0]["content"]

    first, second = model.complete(prompt), model.complete(prompt)

    assert first.stats.prompt_tokens_per_second == pytest.approx(914 / 5.425571)
    assert (second.stats.prompt_tokens, second.stats.prompt_tokens_per_second) == (914, 0.0)


@pytest.mark.parametrize(
    ("prompts", "has_rate"),
    [
        pytest.param(["a" * 400, "b" * 400], [True, True], id="different"),
        pytest.param(["a" * 400, "b" * 400, "a" * 400], [True, True, False], id="again later"),
        pytest.param(["a" * 400, "a" * 200 + "b" * 200], [True, False], id="same beginning"),
        pytest.param(["a" * 30 + "b" * 400, "a" * 30 + "c" * 400], [True, True], id="a few same words"),
        pytest.param(["Why?", "Why not?"], [True, True], id="short"),
    ],
)
def test_prompts_that_share_their_beginning_have_no_rate_of_reading(
    prompts: list[str], has_rate: list[bool], fault_server: MakeFaultServer
) -> None:
    end = {**END, "prompt_eval_duration": 10**8}
    server = fault_server(script(chat=[telling(PIECE, end)]))
    model = model_of(server)

    rates = [model.complete(prompt).stats.prompt_tokens_per_second for prompt in prompts]

    assert rates == [50.0 if has else 0.0 for has in has_rate]


@pytest.mark.parametrize(
    ("name", "number", "error"),
    [
        pytest.param("errors-before-stream", 0, ModelNotInDaemon, id="not found"),
        pytest.param("errors-before-stream", 2, BadOption, id="no model"),
        pytest.param("errors-before-stream", 5, DaemonError, id="405"),
        pytest.param("errors-before-stream", 6, DaemonError, id="404"),
        pytest.param("errors-before-stream", 7, DaemonError, id="wrong type"),
        pytest.param("errors-before-stream", 10, BadOption, id="no reasoning"),
        pytest.param("format", 3, BadOption, id="bad schema"),
        pytest.param("overlong", 1, PromptTooLong, id="overlong"),
        pytest.param("overlong", 5, PromptTooLong, id="overlong in words"),
        pytest.param("long-history", 1, PromptTooLong, id="long history"),
        pytest.param("queue-full", 0, DaemonBusy, id="busy"),
        pytest.param("forbidden", 0, AccessDenied, id="forbidden"),
        pytest.param("engine-crashes-at-load", 0, EngineCrashed, id="crash"),
        pytest.param("load-fails", 0, LoadFailed, id="cut file"),
        pytest.param("load-fails", 1, UnsupportedArchitecture, id="architecture"),
        pytest.param("load-fails", 2, LoadFailed, id="no model"),
    ],
)
def test_a_recorded_refusal_is_its_error(
    name: str, number: int, error: type[LocalLLMError], fault_server: MakeFaultServer
) -> None:
    refused = load("ollama", name)[number].response
    head = {name: value for name, value in refused.headers if name == "Content-Type"}
    server = fault_server(script(chat=[Send(http_response(refused.status, head, refused.body)), Close()]))

    with pytest.raises(error) as caught:
        model_of(server).complete("Why?")

    assert caught.value.hint


def test_an_overlong_prompt_is_told_with_both_sizes(fault_server: MakeFaultServer) -> None:
    refused = load("ollama", "overlong")[1].response
    server = fault_server(script(chat=[Send(http_response(400, {}, refused.body))]))

    with pytest.raises(PromptTooLong) as caught:
        model_of(server).complete("Why?")

    assert "3,014 tokens" in caught.value.message
    assert "512" in caught.value.message
    assert caught.value.hint == "Shorten it, or raise the context: --ctx 3526"


@pytest.mark.parametrize(
    ("name", "is_usual", "hint"),
    [
        pytest.param("nothing", True, "Type: %llm pull ollama:nothing", id="usual place"),
        pytest.param("hf.co/u/r:Q8_0", True, "Type: %llm pull ollama:hf.co/u/r:Q8_0", id="Hugging Face"),
        pytest.param("a b", True, "Type: %llm pull 'ollama:a b'", id="quoted"),
        pytest.param("nothing", False, "Type: %llm pull ollama:nothing@{}", id="another place"),
    ],
)
def test_how_to_get_a_missing_model_is_told(
    name: str, is_usual: bool, hint: str, fault_server: MakeFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [saying({"error": f"model '{name}' not found"}, 404)]
    server = fault_server(script(show=missing, chat=missing))
    if is_usual:
        monkeypatch.setenv("OLLAMA_HOST", server.address)

    with pytest.raises(ModelNotInDaemon) as caught:
        model_of(server, name).complete("Why?")

    assert name in caught.value.message
    assert caught.value.hint == hint.format(server.address)


@pytest.mark.parametrize(("resets", "name"), [(False, "runner-dies"), (True, "runner-dies")])
def test_the_text_before_the_death_of_the_engine_is_kept(resets: bool, name: str, ollama_recording: Recording) -> None:
    server = ollama_recording(name, resets=resets)
    text = [json.loads(line) for line in load("ollama", name)[0].response.body.split(b"\n") if line][:-1]
    model = model_of(server, "slow")

    with model.stream("x") as stream:
        *_, last = stream

    assert isinstance(last, Failed)
    assert "unexpected EOF" in last.error.message
    assert last.completion.text == "".join(line["message"]["content"] for line in text)
    assert last.completion.finish_reason == "error"
    assert last.completion.stats.estimated
    assert model.complete("x").finish_reason == "length"


BROKEN = [
    pytest.param([telling(PIECE)], id="end of the body"),
    pytest.param([telling(PIECE, ends=False), Close()], id="closed"),
    pytest.param([telling(PIECE, ends=False), Reset()], id="reset"),
    pytest.param([telling(PIECE, {"error": "x"})], id="error record"),
    pytest.param([Send(HEAD + chunked(json.dumps(PIECE).encode() + b'\n{"message":{"cont'))], id="cut record"),
    pytest.param([Send(HEAD + chunked(json.dumps(PIECE).encode() + b"\nBad gateway\n"))], id="no JSON"),
    pytest.param([Send(HEAD + chunked(json.dumps(PIECE).encode() + b"\n[1]\n"))], id="no object"),
    pytest.param([Send(HEAD + chunked(json.dumps(PIECE).encode() + b"\n" + b"[" * 99_999 + b"\n"))], id="deep"),
    pytest.param([Send(HEAD + chunk(json.dumps(PIECE).encode() + b"\n") + b"zz\r\n"), Close()], id="bad chunk"),
    pytest.param(
        [Send(HEAD + chunk(json.dumps(PIECE).encode() + b"\n")), Flood(chunk(b"x" * 2**20))], id="endless line"
    ),
]


@pytest.mark.parametrize("steps", BROKEN)
def test_an_answer_that_breaks_off_keeps_its_text(steps: list[Step], fault_server: MakeFaultServer) -> None:
    server = fault_server(script(chat=steps))

    with model_of(server).stream("Why?") as stream:
        *_, last = stream

    assert isinstance(last, Failed)
    assert isinstance(last.error, StreamBroken)
    assert last.completion.text == "So"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([telling(PIECE, END, ends=False), Reset()], id="reset"),
        pytest.param([telling(PIECE, END, {"error": "late"}, ends=False), Hold()], id="never closed"),
        pytest.param([Send(HEAD + chunked(f"{json.dumps(PIECE)}\n{json.dumps(END)}".encode()))], id="no line end"),
    ],
)
def test_what_comes_after_the_end_does_not_matter(steps: list[Step], fault_server: MakeFaultServer) -> None:
    server = fault_server(script(chat=steps))

    completion = model_of(server).complete("Why?")

    assert (completion.text, completion.finish_reason) == ("So", "stop")


def test_a_web_page_is_no_answer(fault_server: MakeFaultServer) -> None:
    page = http_response(200, {"Content-Type": "text/html"}, b"<title>Log in</title>")
    server = fault_server({"*": [Send(page)]})

    with pytest.raises(DaemonError, match="Log in"):
        model_of(server).complete("Why?")


def test_a_server_that_has_gone_is_told(fault_server: MakeFaultServer) -> None:
    server = fault_server({})
    model = model_of(server)
    server.__exit__()

    with pytest.raises(DaemonError, match="Nothing listens"):
        model.complete("Why?")
    with pytest.raises(DaemonError, match="Nothing listens"):
        model.load()
    detail = model.status(refresh=True).detail
    model.unload()

    address = model.info.address
    assert address is not None
    assert detail == (
        f"{model.info.reference} cannot be reached: Nothing listens at {address}. "
        f"To start Ollama, type in a terminal: OLLAMA_HOST={address.netloc} ollama serve"
    )


def test_the_device_and_memory_are_those_of_the_list(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())
    model = model_of(server)

    completion = model.complete("Why?")

    assert completion.model.device == "41% CPU, 59% GPU"
    assert (completion.model.context, completion.model.layers, completion.model.quantization) == (2048, 6, "Q8_0")
    assert completion.versions.engine == "Ollama 0.33.0"
    assert model.memory_bytes == 100


def test_a_list_that_cannot_be_read_leaves_the_place_open(fault_server: MakeFaultServer) -> None:
    server = fault_server(script(ps=[saying([1, 2])], version=[saying({"version": 7})]))
    model = model_of(server)

    completion = model.complete("Why?")

    assert (completion.text, completion.model.device, model.memory_bytes) == ("So", None, 0)
    assert completion.versions.engine == "Ollama"


def test_reading_is_told_while_a_loaded_model_is_silent(fault_server: MakeFaultServer) -> None:
    may_go_on = threading.Event()
    server = fault_server(script(chat=[Wait(may_go_on), telling(PIECE, END)]))

    with model_of(server).stream("Why?") as stream:
        wait_until(lambda: Reading(0, 0) in stream.since(0), "reading")
        may_go_on.set()
        *_, last = stream

    assert isinstance(last, Done)
    assert last.completion.text == "So"


def test_a_description_that_breaks_off_is_no_hindrance(fault_server: MakeFaultServer) -> None:
    cut: list[Step] = [Send(http_response(200, {"Content-Length": "99"}, b'{"model_info"')), Close()]
    server = fault_server(script(show=cut))

    completion = model_of(server).complete("Why?")

    assert (completion.text, completion.finish_reason) == ("So", "stop")


def test_a_model_is_described_again_after_a_failure(fault_server: MakeFaultServer) -> None:
    server = fault_server(script(chat=[saying({"error": "x"}, 500)]))
    model = model_of(server)

    for _ in range(2):
        with pytest.raises(DaemonError):
            model.complete("Why?")

    assert len(bodies(server, "/api/show")) == 2
