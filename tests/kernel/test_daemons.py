"""Cells that servers answer, in a real kernel."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from operator import le
from pathlib import Path

import jsonschema
import pytest

from tests.kernel.endless_model import RANDOM, write_endless_model
from tests.kernel.notebook_kernel import ROOT, Cell, Kernel
from tests.kernel.test_messages import CARD, MEDIA_TYPES, letters
from tests.server.faults import Close, FaultServer, Hold, InTurn, Send, Steps, Wait
from tests.server.http_bytes import LAST_CHUNK, chunk, chunked_head, http_response
from tests.server.llama_server import LlamaServer, llama_server_program
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.waiting import wait_until
from tests.test_import import SHELL, modules_after

DEMO = ROOT / "localllm_magics" / "demo" / "demo.gguf"
QUESTION = "What is a token?"
JSON = {"Content-Type": "application/json"}
WINDOW = 65_536
LONG_PROMPT = "{{ 'what is a model and a token ' * 4000 }}"
NOTHING_RUNS = "__import__('localllm_magics').session.default_session().running == ()"


@pytest.fixture(scope="module")
def llama_server() -> Iterator[LlamaServer]:
    with LlamaServer(DEMO, "-c", "2048", "-np", "2", "-t", "1", "-a", "demo") as server:
        yield server


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """A llama-server that never ends an answer by itself, and whose window takes long to read."""
    model = write_endless_model(tmp_path_factory.mktemp("endless") / "endless.gguf")
    arguments = f"-c {WINDOW} -np 1 -t 1 -a demo --override-kv llama.context_length=int:{WINDOW}"
    with LlamaServer(model, *arguments.split()) as server:
        yield server


@pytest.fixture(scope="module")
def one_stand_in() -> Iterator[OllamaStandIn]:
    with OllamaStandIn(llama_server_program(), DEMO) as server:
        yield server


@pytest.fixture
def stand_in(one_stand_in: OllamaStandIn) -> OllamaStandIn:
    one_stand_in.reset()
    return one_stand_in


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def llama(server: LlamaServer | FaultServer) -> str:
    return f"openai:demo@{server.address}"


def ollama(server: OllamaStandIn) -> str:
    return f"ollama:demo@{server.address}"


def check_answered(cell: Cell, *, engine: str) -> None:
    """CELL looks as one of the kernel engine does, and its counts are the server's own."""
    assert re.fullmatch(CARD, letters(cell)), letters(cell)
    assert [(output["kind"], set(output["data"])) for output in cell.left] == [("display_data", MEDIA_TYPES)]
    document = cell.document
    assert (document["state"], document["model"]["engine"], document["stats"]["estimated"]) == ("done", engine, False)
    assert document["text"] != ""
    assert document["stats"]["prompt_tokens"] > 5
    assert document["stats"]["tokens_per_second"] > 0
    schema = json.loads((ROOT / "localllm_magics" / "core" / "completion.schema.json").read_text("utf-8"))
    jsonschema.validate(document, schema)


def check_stopped(cell: Cell) -> None:
    kept = " The text so far is in _llm." if cell.document["text"] else ""
    assert cell.reply["traceback"] == [f"KeyboardInterrupt: stopped.{kept}"]
    assert (cell.document["state"], cell.document["finish_reason"]) == ("stopped", "stopped")
    assert [output["kind"] for output in cell.left] == ["display_data", "error"]


def test_a_llama_server_answers_as_the_kernel_engine_does(kernel: Kernel, llama_server: LlamaServer) -> None:
    cell = kernel.do(f"%%llm {llama(llama_server)} -t 0 -n 12\n{QUESTION}")
    own = kernel.do(f"%%llm demo -t 0 -n 12\n{QUESTION}")

    check_answered(cell, engine="openai")
    assert cell.messages[0].plain == f"demo · openai at {llama_server.address.partition('//')[2]} · pending"
    assert cell.document["text"] == own.document["text"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert cell.document["stats"][name] == own.document["stats"][name]


def test_ollama_answers_as_the_kernel_engine_does(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    cell = kernel.do(f"%%llm {ollama(stand_in)} -t 0 -n 12\n{QUESTION}")
    own = kernel.do(f"%%llm demo -t 0 -n 12\n{QUESTION}")

    check_answered(cell, engine="ollama")
    assert cell.document["text"] == own.document["text"]
    assert cell.document["stats"]["completion_tokens"] == own.document["stats"]["completion_tokens"] == 12
    assert (cell.document["model"]["device"], cell.document["model"]["context"]) == ("CPU", 1024)
    assert cell.document["versions"]["engine"] == "Ollama 0.33.0"


def test_a_line_is_answered_too(kernel: Kernel, llama_server: LlamaServer) -> None:
    cell = kernel.do(f"x = %llm ask -m {llama(llama_server)} -n 5 {QUESTION}")

    assert re.fullmatch(CARD, letters(cell)), letters(cell)
    assert kernel.value("(x.model.engine, x.stats.completion_tokens)") == "('openai', 5)"


def test_without_streaming_only_the_bundle_is_sent(kernel: Kernel, llama_server: LlamaServer) -> None:
    kernel.do("%env LOCALLLM_STREAM=off")
    cell = kernel.run(f"%%llm {llama(llama_server)} -n 5\n{QUESTION}")
    kernel.do("del __import__('os').environ['LOCALLLM_STREAM']")

    assert letters(cell) == "F"
    assert cell.document["stats"]["completion_tokens"] == 5


def test_a_card_is_there_before_the_server_answers(kernel: Kernel, stack: ExitStack) -> None:
    silent = stack.enter_context(FaultServer({"*": [Hold()]}))
    id_ = kernel.start(f"%%llm {llama(silent)}\n{QUESTION}")
    kernel.wait_for_text(id_, "pending")
    silent.wait_for_requests(1)
    kernel.wait_for_text(id_, "pending · ")  # the time is told after a second
    kernel.interrupt()

    cell = kernel.wait(id_)
    check_stopped(cell)
    assert cell.document["text"] == ""
    assert silent.client_left.wait(60)
    assert kernel.value(NOTHING_RUNS) == "True"


def test_a_cold_model_is_shown_loading(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 1.5

    cell = kernel.do(f"%%llm {ollama(stand_in)} -n 5\n{QUESTION}")

    parts = [part for message in cell.messages for part in message.plain.split(" · ")]
    assert parts.index("pending") < parts.index("loading")
    check_answered(cell, engine="ollama")
    assert cell.document["stats"]["load_seconds"] >= 1.5


def test_an_interrupt_in_a_load_leaves_the_server_usable(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    stand_in.load_seconds = 60
    id_ = kernel.start(f"%%llm {ollama(stand_in)}\n{QUESTION}")
    kernel.wait_for_text(id_, "loading")
    kernel.interrupt()
    cell = kernel.wait(id_)
    left = stand_in.client_left.wait(60)
    stand_in.load_seconds = 0

    check_stopped(cell)
    assert (cell.document["text"], left) == ("", True)
    assert kernel.do(f"%%llm {ollama(stand_in)} -n 5\n{QUESTION}").document["stats"]["completion_tokens"] == 5


def test_an_interrupt_in_the_prompt_frees_the_slot(kernel: Kernel, endless: LlamaServer) -> None:
    id_ = kernel.start(f"%%llm {llama(endless)} {RANDOM}\n{LONG_PROMPT}")
    kernel.wait_for_text(id_, "reading")
    kernel.interrupt()
    cell = kernel.wait(id_)
    endless.wait_until_idle()

    check_stopped(cell)
    assert cell.document["text"] == ""
    assert kernel.do(f"%%llm {llama(endless)} -t 0 -n 5\n{QUESTION}").document["stats"]["completion_tokens"] == 5


def test_an_interrupt_in_an_answer_keeps_the_text_and_frees_the_slot(kernel: Kernel, endless: LlamaServer) -> None:
    question = f"%%llm {llama(endless)} -t 0 -n 20\n{QUESTION}"
    before = kernel.do(question).document["text"]
    id_ = kernel.start(f"%%llm {llama(endless)} {RANDOM} -o part --raw\nOnce")
    kernel.wait_for_text(id_, "generating")
    kernel.interrupt()
    cell = kernel.wait(id_)
    endless.wait_until_idle()

    check_stopped(cell)
    assert cell.document["text"] != ""
    assert kernel.value("part.text") == repr(cell.document["text"])
    assert kernel.do(question).document["text"] == before


def test_an_interrupt_reaches_the_engine_behind_ollama(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    id_ = kernel.start(f"%%llm {ollama(stand_in)}\n{QUESTION}")
    kernel.wait_for_text(id_, "generating")
    kernel.interrupt()
    cell = kernel.wait(id_)
    wait_until(lambda: stand_in.upstream_slots_busy() == 0, "no slot at work")
    stand_in.is_endless = False

    check_stopped(cell)
    assert cell.document["text"] != ""
    assert cell.document["stats"]["estimated"]
    assert kernel.do(f"%%llm {ollama(stand_in)} -n 5\n{QUESTION}").document["stats"]["completion_tokens"] == 5


def test_stop_ends_an_answer_in_the_background(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    stand_in.is_endless = True
    id_ = kernel.start(f"%%llm {ollama(stand_in)} -b\n{QUESTION}")
    kernel.wait_for_text(id_, "generating")
    kernel.do("%llm stop")
    cell = kernel.wait_for_final(id_)
    wait_until(lambda: stand_in.upstream_slots_busy() == 0, "no slot at work")

    assert (cell.reply["status"], cell.document["state"]) == ("ok", "stopped")
    assert cell.document["text"] != ""


def test_an_address_alone_is_enough(kernel: Kernel, llama_server: LlamaServer, stand_in: OllamaStandIn) -> None:
    cells = [kernel.do(f"%%llm {server.address} -n 5\n{QUESTION}") for server in (llama_server, stand_in)]

    assert [cell.document["model"]["engine"] for cell in cells] == ["openai", "ollama"]
    assert [cell.document["stats"]["completion_tokens"] for cell in cells] == [5, 5]


def test_the_wait_for_an_address_alone_can_be_interrupted(kernel: Kernel, stack: ExitStack) -> None:
    silent = stack.enter_context(FaultServer({"*": [Hold()]}))
    id_ = kernel.start(f"%%llm {silent.address}\n{QUESTION}")
    kernel.wait_for_text(id_, "pending")
    silent.wait_for_requests(1)
    kernel.interrupt()

    check_stopped(kernel.wait(id_))
    assert silent.client_left.wait(60)


def test_reasoning_is_counted_while_it_comes_and_folded_at_the_end(kernel: Kernel, stack: ExitStack) -> None:
    may_answer = threading.Event()
    thought = "Hm</details><script>alert(1)</script>"
    server = stack.enter_context(FaultServer(completing(reasoned(thought), Wait(may_answer), said("So."), *END)))
    id_ = kernel.start(f"%%llm {llama(server)}\n{QUESTION}")
    kernel.wait_for_text(id_, "of reasoning")
    may_answer.set()
    cell = kernel.wait(id_)

    live = [message.plain for message in cell.messages if "of reasoning" in message.plain]
    assert re.search(r"generating · ~\d+ tokens? of reasoning", live[0])
    assert (cell.document["text"], cell.document["reasoning"]) == ("So.", thought)
    markdown = cell.bundle["text/markdown"]
    assert markdown.startswith("<details><summary>Reasoning</summary>\n\nHm")
    assert (markdown.count("</details>"), markdown.count("<script")) == (1, 0)
    assert " · ~" in cell.bundle["text/plain"]
    assert cell.document["stats"]["estimated"]


def test_a_pull_can_be_interrupted(kernel: Kernel, stand_in: OllamaStandIn) -> None:
    stand_in.pull_may_finish.clear()
    reference = f"ollama:tiny@{stand_in.address}"
    id_ = kernel.start(f"%llm pull {reference}")
    kernel.wait_for_text(id_, "pulling")
    kernel.interrupt()
    cell = kernel.wait(id_)

    assert cell.reply["traceback"] == ["KeyboardInterrupt: stopped."]
    assert cell.left[0]["data"] == {"text/plain": f"{reference} · stopped"}
    assert stand_in.client_left.wait(60)


def test_answers_in_the_background_end_in_any_order(kernel: Kernel, stack: ExitStack) -> None:
    gates = {name: threading.Event() for name in ("first", "second")}
    servers = {
        name: stack.enter_context(FaultServer(completing(said(f"{name} "), Wait(gate), said("ends"), *END)))
        for name, gate in gates.items()
    }
    ids = {name: kernel.start(f"%%llm {llama(server)} -b -o {name}\n{QUESTION}") for name, server in servers.items()}
    for id_ in ids.values():
        kernel.wait(id_)
        kernel.wait_for_text(id_, "generating")
    free = kernel.do("print('free')").stdout

    cells = {}
    for name in ("second", "first"):
        gates[name].set()
        cells[name] = kernel.wait_for_final(ids[name])

    assert free == "free\n"
    assert {name: cell.document["text"] for name, cell in cells.items()} == {
        "first": "first ends",
        "second": "second ends",
    }
    assert [re.fullmatch(CARD, letters(cell)) is not None for cell in cells.values()] == [True, True]
    wait_until(lambda: kernel.value("(first.text, second.text)") == "('first ends', 'second ends')", "both bound")


def said(text: str, field: str = "content") -> Send:
    """A piece of an answer as OpenAI's interface streams it."""
    event = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {field: text}}]}
    return Send(chunk(b"data: " + json.dumps(event).encode() + b"\n\n"))


def reasoned(text: str) -> Send:
    """A piece of the reasoning, as llama-server streams it."""
    return said(text, "reasoning_content")


HEAD = Send(chunked_head("text/event-stream"))
STOP = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
END = (Send(chunk(b"data: " + json.dumps(STOP).encode() + b"\n\ndata: [DONE]\n\n") + LAST_CHUNK),)
MODELS = [Send(http_response(200, JSON, b'{"object":"list","data":[{"id":"demo","object":"model"}]}'))]


def completing(*steps: Send | Wait | Close) -> dict[str, Steps | InTurn]:
    """The script of a server with one model that takes STEPS when it is asked."""
    return {"/v1/models": MODELS, "/v1/chat/completions": [HEAD, *steps]}


@pytest.mark.parametrize("option", ["", "--no-raise"])
def test_an_answer_that_breaks_off_keeps_its_text(kernel: Kernel, stack: ExitStack, option: str) -> None:
    server = stack.enter_context(FaultServer(completing(said("Once upon "), said("a time"), Close())))

    cell = kernel.run(f"%%llm {llama(server)} {option}\n{QUESTION}")

    error = cell.document["error"]
    assert (cell.document["state"], cell.document["text"]) == ("failed", "Once upon a time")
    assert (error["kind"], error["hint"]) == ("stream_broken", "The text so far is kept. Ask again.")
    assert cell.bundle["text/plain"].startswith("Once upon a time")
    assert (error["hint"] in cell.bundle["text/plain"]) is (option != "")
    assert cell.reply["status"] == ("ok" if option else "error")
    assert option or cell.reply["traceback"] == [f"StreamBroken: {error['message']}\n{error['hint']}"]
    assert kernel.value("_llm.text") == "'Once upon a time'"


def test_a_server_may_be_started_again_between_two_cells(kernel: Kernel, stack: ExitStack) -> None:
    server = stack.enter_context(LlamaServer(DEMO, "-c", "1024", "-np", "1", "-t", "1", "-a", "demo"))
    question = f"%%llm {llama(server)} -t 0 -n 8\n{QUESTION}"
    before = kernel.do(question)
    server.kill()
    between = kernel.run("%%llm\nWhy?")
    server.start()
    server.wait_until_ready()
    after = kernel.do(question.replace(llama(server), ""))

    assert between.document["error"]["kind"] == "daemon_not_reachable"
    assert f"llama-server -m model.gguf --port {server.port}" in between.document["error"]["hint"]
    assert after.document["text"] == before.document["text"]
    assert after.document["model"]["reference"] == llama(server)


def opened(kernel: Kernel) -> tuple[int, int]:
    """How many files and threads it has."""
    files, threads = json.loads(kernel.value("[len(os.listdir('/proc/self/fd')), threading.active_count()]"))
    print(f"{files} files, {threads} threads")  # noqa: T201 - for who reads the report
    return files, threads


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists what a process has open")
def test_many_cells_leave_nothing_behind(kernel: Kernel, llama_server: LlamaServer, stand_in: OllamaStandIn) -> None:
    kernel.do("import os, threading")
    questions = [f"%%llm {reference} -n 2\nHi" for reference in (llama(llama_server), ollama(stand_in))]
    for question in questions:
        kernel.do(question)
    files, threads = opened(kernel)
    states = [kernel.do(questions[number % 2]).document["state"] for number in range(200)]

    wait_until(lambda: all(map(le, opened(kernel), (files, threads))), f"{files} files and {threads} threads at most")

    assert states == ["done"] * 200


def test_the_extension_is_loaded_without_what_talks_to_servers(tmp_path: Path) -> None:
    with Kernel(tmp_path) as fresh:
        found = fresh.value("[name for name in ('httpx', 'httpcore', 'h11') if name in __import__('sys').modules]")

    assert found == "[]"


@pytest.mark.parametrize("line", ["", "%llm help", "%llm status", "%llm config"])
def test_nothing_of_it_is_imported_before_it_is_used(line: str) -> None:
    modules = modules_after(f"{SHELL}shell.run_line_magic('load_ext', 'localllm_magics')\nshell.run_cell({line!r})")

    assert "localllm_magics" in modules
    assert modules & {"httpx", "httpcore", "h11", "ssl"} == set()
