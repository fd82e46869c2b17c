"""What cells send to the front end, message by message."""

import json
import re

import jsonschema
import pytest

from localllm_magics.core.completion import MIME_TYPE
from tests.kernel.notebook_kernel import ROOT, Cell, Kernel, say

MEDIA_TYPES = {"text/markdown", "text/plain", MIME_TYPE}
# D: display, U: its update, S: printed text (in one piece or several), F and f: display and update with the completion.
LETTERS = {
    "display_data": "D",
    "update_display_data": "U",
    "stream": "S",
    "error": "E",
    "execute_result": "R",
}
ANSWER = "Hello to you.\n```python\nx = 1\n```"
CARD = r"DU*f"


def letters(cell: Cell) -> str:
    """CELL's messages in short."""
    return "".join(
        {"D": "F", "U": "f"}[LETTERS[message.kind]] if message.is_final else LETTERS[message.kind]
        for message in cell.messages
    )


@pytest.fixture(autouse=True)
def _scripted(kernel: Kernel) -> None:
    say(kernel, ANSWER)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("%%llm\nHi", CARD, id="a cell"),
        pytest.param("%%localllm scripted -t 0\nHi", CARD, id="a cell by its second name"),
        pytest.param("\n\n%%llm\nHi", CARD, id="a cell after blank lines"),
        pytest.param("%%llm demo -t 0\nHi", CARD, id="a cell with the bundled model"),
        pytest.param("%%llm -o answer\nHi", CARD, id="with a name"),
        pytest.param("%%llm --code\nHi", CARD, id="with code"),
        pytest.param("%%llm -n 1\nHi", CARD, id="cut off"),
        pytest.param("%%llm --raw\nHi", CARD, id="raw"),
        pytest.param("%llm ask Hi?", CARD, id="a line"),
        pytest.param("x = %llm ask -t 0 Hi?", CARD, id="a line, assigned"),
        pytest.param("%time x = 1\n%llm ask Hi?", f"S+{CARD}", id="a line after another magic"),
        pytest.param("print(1)\n%llm ask Hi?", f"S+{CARD}", id="a line after something printed"),
        pytest.param("get_ipython().run_cell_magic('llm', '', 'Hi')", CARD, id="a cell magic from Python"),
        pytest.param("%%time\n%%llm\nHi", f"{CARD}S+", id="timed"),
        pytest.param("%%capture\n%%llm\nHi", "", id="captured"),
        pytest.param("%%llm --dry-run\nHi", "D", id="a dry run"),
        pytest.param("%llm ask --dry-run Hi", "D", id="a dry run in a line"),
        pytest.param("%llm status", "R", id="a table"),
        pytest.param("%llm stop", "S+", id="a sentence"),
        pytest.param("%%llm --top-p 3\nHi", "E", id="a wrong option"),
        pytest.param("%%llm --no-raise --top-p 3\nHi", "F", id="a wrong option that is forgiven"),
        pytest.param("%%llm\n{{ undefined }}", f"{CARD}E", id="a wrong expression"),
        pytest.param("%%llm gone.gguf\nHi", f"{CARD}E", id="no such model"),
        pytest.param("%%llm --no-raise gone.gguf\nHi", CARD, id="no such model, forgiven"),
    ],
)
def test_a_cell_sends(kernel: Kernel, code: str, expected: str) -> None:
    cell = kernel.run(code)

    assert re.fullmatch(expected, letters(cell)), letters(cell)
    assert cell.reply["status"] == ("error" if expected.endswith("E") else "ok")


def test_the_placeholder_comes_first_and_one_bundle_stays(kernel: Kernel) -> None:
    cell = kernel.run("%%llm\nHi")

    assert cell.messages[0].plain == "scripted · pending"
    assert [(output["kind"], set(output["data"])) for output in cell.left] == [("display_data", MEDIA_TYPES)]
    assert (cell.stdout, cell.document["text"], cell.document["state"]) == ("", ANSWER, "done")


def test_every_look_is_markdown_with_the_status_at_its_end(kernel: Kernel) -> None:
    say(kernel, "**one**\n\ntwo <b> three", hangs_after=3)

    id_ = kernel.start("%%llm\nHi")
    kernel.wait_for_text(id_, "3 tokens")
    kernel.interrupt()
    cell = kernel.wait(id_)

    *looks, last = [message.content["data"]["text/markdown"] for message in cell.messages if "data" in message.content]
    assert looks[-1].startswith("**one**\n\ntwo &lt;b>\n\n<small")
    assert last.startswith("**one**\n\ntwo &lt;b>\n\n<small")
    assert all(look.endswith("</small>") for look in [*looks, last])


def test_text_is_appended_where_no_output_is_updated(kernel: Kernel) -> None:
    kernel.do('%config LocalLLM.card = "text"')
    cell = kernel.do("%%llm\nHi")
    load = kernel.do("%llm load demo")
    kernel.do('%config LocalLLM.card = "markdown"')

    assert re.fullmatch("S+F", letters(cell))
    assert cell.stdout == f"{ANSWER}\n\n"
    assert set(cell.bundle) == {"text/plain", MIME_TYPE}
    assert cell.bundle["text/plain"].startswith("[scripted · ")
    assert letters(load) == "R"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        pytest.param("%%llm\nHi", 1, id="a cell"),
        pytest.param("%llm ask Hi", 1, id="a line"),
        pytest.param("%%llm -b\nHi", 1, id="in the background"),
        pytest.param("%%llm gone.gguf\nHi", 1, id="an error"),
        pytest.param("%llm load demo", 0, id="a load"),
    ],
)
def test_without_streaming_only_the_bundle_is_sent(kernel: Kernel, code: str, count: int) -> None:
    kernel.do("%env LOCALLLM_STREAM=off")
    id_ = kernel.start(code)
    kernel.wait(id_)
    cell = kernel.wait_for_final(id_) if count else kernel.seen(id_)
    kernel.do("del __import__('os').environ['LOCALLLM_STREAM']")

    shown = [message for message in cell.messages if message.kind not in {"error", "execute_result"}]
    assert [message.kind for message in shown] == ["display_data"] * count
    assert len(cell.finals) == count


def test_out_and_the_last_one_are_bound(kernel: Kernel) -> None:
    kernel.do("%%llm -o answer\nHi")
    kernel.do("x = %llm ask Hi?")

    assert kernel.value("answer.text == x.text == _llm.text") == "True"
    assert kernel.value("answer is not x and x is _llm") == "True"


def test_a_bare_line_is_no_result(kernel: Kernel) -> None:
    kernel.do("_llm = None")
    kernel.do("%llm ask Hi?")

    assert kernel.value("_llm.text").startswith("'Hello")
    assert kernel.value("any(value is _llm for value in Out.values())") == "False"


def test_code_goes_to_the_next_cell(kernel: Kernel) -> None:
    say(kernel, "Here:\n```python\nx = 1\nprint(x)\n```\nand\n```\ny\n```", "No code.")

    with_code = kernel.run("%%llm --code\nHi")
    without = kernel.run("%llm ask --code Hi")

    assert with_code.reply["payload"] == [
        {"source": "set_next_input", "text": "x = 1\nprint(x)", "replace": False},
    ]
    assert without.reply["payload"] == []
    assert without.stdout == "The answer has no code block, so no cell was made.\n"


def test_an_error_is_short_and_says_what_to_do(kernel: Kernel) -> None:
    cell = kernel.run("%%llm\nHello {{ nmae }}")

    reply = cell.reply
    assert (reply["status"], reply["ename"]) == ("error", "BadExpression")
    assert "nmae" in reply["evalue"]
    assert "localllm_magics" not in "".join(reply["traceback"])
    assert len("".join(reply["traceback"]).splitlines()) <= 5
    assert cell.document["error"]["kind"] == "bad_expression"
    assert "nmae" not in cell.bundle["text/markdown"]


def test_a_forgiven_error_is_shown_in_the_card(kernel: Kernel) -> None:
    cell = kernel.do("%%llm --no-raise\nHello {{ nmae }}")

    assert "nmae" in cell.bundle["text/plain"]
    assert cell.document["state"] == "failed"


def test_background_answers_are_made_side_by_side(kernel: Kernel) -> None:
    say(kernel, "one two three", hangs_after=1)

    ids = [kernel.start("%%llm -b -o first\nHi"), kernel.start("%llm ask -b -o second Hi")]
    for id_ in ids:
        kernel.wait(id_)
        kernel.wait_for_text(id_, "generating")
    between = kernel.do("print('free')")
    running = kernel.value("len(__import__('localllm_magics').session.default_session().running)")
    kernel.do("%llm stop")
    cells = [kernel.wait_for_final(id_) for id_ in ids]

    assert between.stdout == "free\n"
    assert running == "2"
    assert [re.fullmatch(CARD, letters(cell)) is not None for cell in cells] == [True, True]
    assert [cell.document["state"] for cell in cells] == ["stopped", "stopped"]
    assert kernel.value("(first.text, second.text, _llm in (first, second))") == "('one', 'one', True)"
    assert len({output["transient"]["display_id"] for cell in cells for output in cell.left}) == 2


def test_an_error_in_the_background_is_shown_in_the_card(kernel: Kernel) -> None:
    id_ = kernel.start("%%llm demo -b --ctx 256\n{{ 'too long ' * 400 }}")
    kernel.wait(id_)
    cell = kernel.wait_for_final(id_)

    assert cell.reply["status"] == "ok"
    assert cell.document["error"]["kind"] == "prompt_too_long"
    assert cell.document["error"]["message"] in cell.bundle["text/plain"]


@pytest.mark.parametrize(
    "code",
    ["%%llm\nHi", "%%llm demo -t 0\nHi", "%%llm --no-raise\n{{ undefined }}", "%%llm --no-raise gone.gguf\nHi"],
)
def test_the_document_follows_its_schema(kernel: Kernel, code: str) -> None:
    schema = json.loads((ROOT / "localllm_magics" / "core" / "completion.schema.json").read_text("utf-8"))

    jsonschema.validate(kernel.do(code).document, schema)
