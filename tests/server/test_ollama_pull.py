import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import (
    AccessDenied,
    BadOption,
    DaemonError,
    DaemonNotReachable,
    LocalLLMError,
    ModelNotInDaemon,
    StreamBroken,
)
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.ollama.pull import PullProgress, pull
from localllm_magics.engines.server.connection import Connection
from tests.server.conftest import MakeFaultServer, Recording
from tests.server.faults import Close, Drip, Flood, Hold, Reset, Send, Step
from tests.server.http_bytes import chunked, chunked_head, http_response
from tests.server.http_server import HttpServer
from tests.server.ollama_stand_in import OllamaStandIn
from tests.server.recordings import load
from tests.server.waiting import wait_until

HEAD = chunked_head("application/x-ndjson")
MANIFEST = {"status": "pulling manifest"}
SUCCESS = {"status": "success"}
NOT_THERE = {"error": "pull model manifest: file does not exist"}


def pulled(to: HttpServer, name: str = "tiny", stop: Stop | None = None) -> Iterator[PullProgress]:
    return pull(Connection(Address.from_text(to.address)), name, stop or Stop())


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def telling(*records: dict[str, Any], ends: bool = True) -> Send:
    return Send(HEAD + chunked(lines(*records), ends=ends))


def part(digest: str, total: int, completed: int | None = None) -> dict[str, Any]:
    line: dict[str, Any] = {"status": f"pulling {digest}", "digest": f"sha256:{digest}", "total": total}
    return line if completed is None else {**line, "completed": completed}


def test_a_pull_ends_with_success(stand_in: OllamaStandIn) -> None:
    steps = list(pulled(stand_in))

    assert steps[0] == PullProgress(status="pulling manifest")
    assert steps[-1] == PullProgress(status="success", done=3_000_400, total=3_000_400)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert all(step.done <= step.total for step in steps)


def test_a_pull_that_is_stopped_leaves_the_server(stand_in: OllamaStandIn) -> None:
    stand_in.pull_may_finish.clear()
    stop = Stop()
    steps = pulled(stand_in, stop=stop)
    first = next(steps)
    stop.set()

    with pytest.raises(Stopped):
        list(steps)
    assert first.status == "pulling manifest"
    assert stand_in.client_left.wait(60)


def test_closing_a_pull_leaves_the_server(stand_in: OllamaStandIn) -> None:
    stand_in.pull_may_finish.clear()
    steps = pulled(stand_in)
    next(steps)

    steps.close()  # type: ignore[attr-defined] # it is a generator
    assert stand_in.client_left.wait(60)


def test_a_silent_pull_can_be_stopped(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [Hold()]})
    stop = Stop()
    ended = threading.Event()

    def work() -> None:
        with pytest.raises(Stopped):
            list(pulled(server, stop=stop))
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    server.wait_for_requests(1)
    stop.set()

    assert ended.wait(60)
    wait_until(server.client_left.is_set, "the client has left")


def test_a_pull_that_is_stopped_before_it_begins_asks_nobody_for_long(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [Hold()]})
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        list(pulled(server, stop=stop))


@pytest.mark.parametrize(
    ("records", "sums"),
    [
        pytest.param([part("a", 10), part("b", 5), part("a", 10, 4)], [(0, 10), (0, 15), (4, 15)], id="in turn"),
        pytest.param([part("a", 10, 10), part("a", 10, 3)], [(10, 10), (3, 10)], id="begins again"),
        pytest.param([part("a", 10, 99)], [(10, 10)], id="more than all"),
        pytest.param([part("a", 10, 4), MANIFEST], [(4, 10), (4, 10)], id="status alone"),
        pytest.param([part("a", -1, 4)], [(0, 0)], id="negative"),
        pytest.param([{**part("a", 1), "total": "1", "digest": 7}], [(0, 0)], id="wrong types"),
        pytest.param([{**part("a", 10), "completed": "4"}], [(0, 10)], id="no number"),
        pytest.param([{}], [(0, 0)], id="empty"),
    ],
)
def test_bytes_are_summed_over_all_parts(
    records: list[dict[str, Any]], sums: list[tuple[int, int]], fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/api/pull": [telling(*records, SUCCESS)]})

    *steps, last = pulled(server)

    assert [(step.done, step.total) for step in steps] == sums
    assert last.status == "success"


def test_a_status_is_one_short_line_without_terminal_codes(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [telling({"status": "a\n\x1b[2Jb\u202e" + "c" * 1000}, SUCCESS)]})

    step, _ = pulled(server)

    assert step.status == "a b" + "c" * 97


def test_parts_without_end_are_not_all_kept(fault_server: MakeFaultServer) -> None:
    many = [part(str(number), 1, 1) for number in range(10_050)]
    server = fault_server({"/api/pull": [telling(*many, SUCCESS)]})

    *_, last = pulled(server)

    assert last == PullProgress(status="success", done=10_000, total=10_000)


def test_bytes_that_come_one_by_one_are_the_same_pull(fault_server: MakeFaultServer) -> None:
    data = HEAD + chunked(lines(MANIFEST, part("a", 10, 4), SUCCESS))
    server = fault_server({"/api/pull": [Drip(data)]})

    assert list(pulled(server)) == [
        PullProgress(status="pulling manifest"),
        PullProgress(status="pulling a", done=4, total=10),
        PullProgress(status="success", done=4, total=10),
    ]


@pytest.mark.parametrize("late", [{"error": "digest mismatch"}, MANIFEST], ids=["error", "another status"])
def test_only_a_pull_whose_last_word_is_success_has_ended_well(
    late: dict[str, Any], fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/api/pull": [telling(SUCCESS, late)]})

    with pytest.raises(DaemonError) as caught:
        list(pulled(server))
    assert caught.value.hint == AGAIN + server.address


@pytest.mark.parametrize("nothing", [None, "", False])
def test_an_error_that_is_none_is_no_error(nothing: object, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [telling({**MANIFEST, "error": nothing}, {**SUCCESS, "error": nothing})]})

    assert [step.status for step in pulled(server)] == ["pulling manifest", "success"]


@pytest.mark.parametrize("before", [60, 75, 79])
def test_no_piece_of_a_key_is_in_what_cannot_be_read(before: int, fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [Send(HEAD + chunked(b"x" * before + b"sk-secret and more\n"))]})
    connection = Connection(Address.from_text(server.address), key="sk-secret")

    with pytest.raises(StreamBroken) as caught:
        list(pull(connection, "tiny", Stop()))

    assert "xs" not in str(caught.value)


AGAIN = "Pull again, it resumes where it stopped: %llm pull ollama:tiny@"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([telling(MANIFEST)], id="end of the body"),
        pytest.param([telling(MANIFEST, ends=False), Close()], id="closed in the middle"),
        pytest.param([telling(MANIFEST, ends=False), Reset()], id="reset in the middle"),
        pytest.param([Send(HEAD + chunked(lines(MANIFEST) + b'{"status":"succ'))], id="cut record"),
        pytest.param([Send(HEAD + chunked(lines(MANIFEST) + b"<html>\n"))], id="no JSON"),
        pytest.param([Send(HEAD + chunked(lines(MANIFEST) + b"[" * 100_000 + b"\n"))], id="nested deeply"),
        pytest.param([telling()], id="nothing"),
    ],
)
def test_a_pull_that_breaks_off_can_be_taken_up(steps: list[Step], fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": steps})

    with pytest.raises(StreamBroken) as caught:
        list(pulled(server))

    assert caught.value.hint == AGAIN + server.address


def test_a_line_without_end_is_given_up(fault_server: MakeFaultServer) -> None:
    data = b"x" * 2**20
    server = fault_server({"/api/pull": [Send(HEAD), Flood(b"%x\r\n%b\r\n" % (len(data), data))]})

    with pytest.raises(StreamBroken, match="size limit"):
        list(pulled(server))


def test_a_name_that_no_registry_has_is_an_error(stand_in: OllamaStandIn) -> None:
    with pytest.raises(ModelNotInDaemon) as caught:
        list(pulled(stand_in, "missing"))

    assert caught.value.message.startswith("There is no model missing in the registry")
    assert caught.value.hint == "Check the spelling, and the tag after the colon, at https://ollama.com/library"


HF_GATED = 'pull model manifest: 401: {"error":"Invalid username or password."}'
HF_TAG = 'pull model manifest: 400: {"error":"The specified tag is not available in the repository."}'


@pytest.mark.parametrize(
    ("name", "said", "error", "hint"),
    [
        pytest.param("hf.co/u/r:Q8_0", HF_TAG, ModelNotInDaemon, "at https://huggingface.co/u/r", id="no such tag"),
        pytest.param("hf.co/u/r", HF_GATED, ModelNotInDaemon, "at https://huggingface.co/u/r", id="no repository"),
        pytest.param("tiny", "write /x: no space left on device", DaemonError, "ollama rm", id="disk full"),
        pytest.param("tiny", "412: requires a newer version of Ollama", DaemonError, "Update Ollama", id="too old"),
        pytest.param("tiny", "max retries exceeded: EOF", DaemonError, "Pull again", id="network"),
        pytest.param("tiny", "digest mismatch, file must be downloaded again", DaemonError, "Pull again", id="digest"),
        pytest.param("tiny", {"message": "an object"}, DaemonError, "Pull again", id="object"),
        pytest.param("tiny", None, DaemonError, "Pull again", id="no reason"),
    ],
)
def test_an_error_after_the_first_line_is_an_error(
    name: str, said: object, error: type[LocalLLMError], hint: str, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/api/pull": [telling(MANIFEST, {"error": said})]})

    with pytest.raises(error) as caught:
        list(pulled(server, name))

    assert hint in caught.value.hint
    assert name in caught.value.message


def test_a_registry_that_cannot_be_reached_is_an_error(ollama_recording: Recording) -> None:
    name = load("ollama", "pull-fails")[0].request.json["model"]

    with pytest.raises(DaemonError, match="connection refused"):
        list(pulled(ollama_recording("pull-fails"), name))


@pytest.mark.parametrize("name", ["", "a b c"])
def test_an_impossible_name_is_an_error(name: str, ollama_recording: Recording) -> None:
    with pytest.raises(BadOption) as caught:
        list(pulled(ollama_recording("pull-fails"), name))

    assert "invalid model name" in caught.value.message
    assert caught.value.hint == "Write a name such as llama3.2:1b, or hf.co/user/repository:Q4_K_M."


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(http_response(403), AccessDenied, id="forbidden"),
        pytest.param(http_response(404, {}, b"404 page not found"), DaemonError, id="no Ollama"),
        pytest.param(http_response(500, {}, b'{"error":"x"}'), DaemonError, id="failure"),
        pytest.param(http_response(200, {"Content-Type": "text/html"}, b"<html>"), DaemonError, id="web page"),
        pytest.param(http_response(302, {"Location": "/x"}), DaemonError, id="sent on"),
    ],
)
def test_a_refusal_is_an_error(answer: bytes, error: type[LocalLLMError], fault_server: MakeFaultServer) -> None:
    with pytest.raises(error):
        list(pulled(fault_server({"/api/pull": [Send(answer)]})))


def test_a_pull_from_nobody_is_an_error(fault_server: MakeFaultServer) -> None:
    server = fault_server({})
    steps = pulled(server)
    server.__exit__()

    with pytest.raises(DaemonNotReachable):
        next(steps)


def test_a_key_is_not_repeated(fault_server: MakeFaultServer) -> None:
    server = fault_server({"/api/pull": [telling({"error": "bad key sk-secret"})]})
    connection = Connection(Address.from_text(server.address), key="sk-secret")

    with pytest.raises(DaemonError) as caught:
        list(pull(connection, "tiny", Stop()))

    assert "sk-secret" not in str(caught.value)


def test_what_to_type_is_quoted_and_names_the_server_only_if_need_be(
    monkeypatch: pytest.MonkeyPatch, fault_server: MakeFaultServer
) -> None:
    server = fault_server({"/api/pull": [telling(MANIFEST)]})
    monkeypatch.setenv("OLLAMA_HOST", server.address)

    with pytest.raises(StreamBroken) as caught:
        list(pulled(server, "a $b"))

    assert caught.value.hint.endswith("%llm pull 'ollama:a $b'")
