"""■ ends a generation in every state; the text so far stays, and the model stays usable."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.endless_model import RANDOM, write_endless_model
from tests.kernel.notebook_kernel import Cell, Kernel, say

QUESTION = "%%llm demo -t 0\nWhat is a token?"
ENDLESS = f"endless.gguf --ctx 32768 --threads 1 {RANDOM}"
LONG_PROMPT = "{{ 'what is a model and a token ' * 4400 }}"
STOP_WHEN_IT_HANGS = """
import threading, time
from localllm_magics.session import default_session

def stop_when_it_hangs():
    while [stream.generation.text for stream in default_session().running] != ["one two"]:
        time.sleep(0.05)
    default_session().stop()

threading.Thread(target=stop_when_it_hangs, daemon=True).start()
"""
SECONDS = 10.0
"""Far more than the 100 ms of an idle machine."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("interrupt")
    write_endless_model(folder / "endless.gguf")
    with Kernel(folder) as running:
        yield running


@pytest.fixture(scope="module")
def fresh_answer(kernel: Kernel) -> str:
    """The first answer of a kernel."""
    return str(kernel.do(QUESTION).document["text"])


def interrupted(kernel: Kernel, code: str, at: str) -> Cell:
    """CODE, interrupted when its output shows AT."""
    id_ = kernel.start(code)
    kernel.wait_for_text(id_, at)
    start = time.perf_counter()
    kernel.interrupt()
    cell = kernel.wait(id_)
    seconds = time.perf_counter() - start
    print(f"interrupted at {at!r}: {seconds * 1000:.0f} ms")  # noqa: T201 - for who reads the report
    assert seconds < SECONDS
    return cell


def check_stopped(cell: Cell, kernel: Kernel) -> None:
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "KeyboardInterrupt")
    kept = " The text so far is in _llm." if cell.document["text"] else ""
    assert cell.reply["traceback"] == [f"KeyboardInterrupt: stopped.{kept}"]
    assert (cell.document["state"], cell.document["finish_reason"]) == ("stopped", "stopped")
    assert kernel.value("_llm.id") == repr(cell.document["id"])
    assert [output["kind"] for output in cell.left] == ["display_data", "error"]


def test_in_the_load(tmp_path: Path, fresh_answer: str) -> None:
    # With no verdict on the build in the cache, the load begins with its trial, which takes a second.
    with Kernel(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) as fresh:
        cell = interrupted(fresh, QUESTION, "loading")

        check_stopped(cell, fresh)
        assert cell.document["text"] == ""
        assert fresh.do(QUESTION).document["text"] == fresh_answer


def test_in_a_load_without_a_question(tmp_path: Path, fresh_answer: str) -> None:
    with Kernel(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) as fresh:
        cell = interrupted(fresh, "%llm load demo", "loading")

        assert cell.reply["traceback"] == ["KeyboardInterrupt: stopped."]
        assert cell.left[0]["data"]["text/plain"] == "demo · stopped"
        assert fresh.do(QUESTION).document["text"] == fresh_answer


def test_in_prefill(kernel: Kernel, fresh_answer: str) -> None:
    cell = interrupted(kernel, f"%%llm {ENDLESS}\n{LONG_PROMPT}", "reading")

    check_stopped(cell, kernel)
    assert cell.document["text"] == ""
    assert kernel.do(QUESTION).document["text"] == fresh_answer


def test_in_decode(kernel: Kernel, fresh_answer: str) -> None:
    cell = interrupted(kernel, f"%%llm {ENDLESS} -o part\nTell me a story.", "generating")

    check_stopped(cell, kernel)
    assert cell.document["stats"]["completion_tokens"] > 0
    assert cell.document["text"] != ""
    assert kernel.value("part.text") == repr(cell.document["text"])
    assert kernel.do(QUESTION).document["text"] == fresh_answer


def test_the_same_model_answers_as_if_nothing_had_been(kernel: Kernel) -> None:
    question = f"%%llm {ENDLESS} -n 30\nWhy?"
    before = kernel.do(question).document["text"]

    interrupted(kernel, f"%%llm {ENDLESS}\n{LONG_PROMPT}", "reading")
    after_prefill = kernel.do(question).document["text"]
    interrupted(kernel, f"%%llm {ENDLESS}\nTell me a story.", "generating")
    after_decode = kernel.do(question).document["text"]

    assert after_prefill == after_decode == before


def test_while_waiting_for_a_busy_model(kernel: Kernel, fresh_answer: str) -> None:
    busy = kernel.start(f"%%llm {ENDLESS} -b\nTell me a story.")
    kernel.wait(busy)
    kernel.wait_for_text(busy, "generating")
    id_ = kernel.start(f"%%llm {ENDLESS}\nWhy?")
    kernel.wait_for_text(id_, "pending")
    kernel.interrupt()
    cell = kernel.wait(id_)
    running = kernel.value("len(__import__('localllm_magics').session.default_session().running)")
    check_stopped(cell, kernel)
    kernel.do("%llm stop")
    other = kernel.wait_for_final(busy)

    assert (cell.document["text"], running) == ("", "1")
    assert other.document["state"] == "stopped"
    assert other.document["text"] != ""
    assert kernel.do(QUESTION).document["text"] == fresh_answer


def test_in_a_line(kernel: Kernel, fresh_answer: str) -> None:
    cell = interrupted(kernel, f"print('before')\nx = %llm ask -m {ENDLESS} Tell me a story.", "generating")

    assert cell.reply["traceback"] == ["KeyboardInterrupt: stopped. The text so far is in _llm."]
    assert cell.stdout == "before\n"
    assert [output["kind"] for output in cell.left][-2:] == ["display_data", "error"]
    assert cell.document["state"] == "stopped"
    assert kernel.do(QUESTION).document["text"] == fresh_answer


def test_run_all_stops_at_the_interrupted_cell(kernel: Kernel) -> None:
    say(kernel, "one two three", hangs_after=2)
    first = kernel.start("%%llm\nHi")
    second = kernel.start("print('never')")
    kernel.wait_for_text(first, "generating")
    kernel.interrupt()

    assert kernel.wait(first).document["text"] == "one two"
    assert kernel.wait(second).reply["status"] == "aborted"


def test_an_expression_that_takes_its_time(kernel: Kernel) -> None:
    say(kernel, "Hi.")
    id_ = kernel.start("%%llm\n{{ __import__('threading').Event().wait(60) }}")
    kernel.wait_for_text(id_, "pending")
    kernel.interrupt()

    check_stopped(kernel.wait(id_), kernel)


def test_the_stop_button_does_not_raise(kernel: Kernel) -> None:
    say(kernel, "one two three", hangs_after=2)
    kernel.do(STOP_WHEN_IT_HANGS)

    cell = kernel.run("%%llm\nHi")

    assert cell.reply["status"] == "ok"
    assert (cell.document["state"], cell.document["text"]) == ("stopped", "one two")
