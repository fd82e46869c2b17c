import json
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import AccessDenied, DaemonError, DaemonNotReachable, LocalLLMError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.ollama import api
from localllm_magics.engines.ollama.api import ModelDescription, ModelInMemory, to_description
from localllm_magics.engines.server.connection import Connection
from tests.server.faults import FaultServer, Send
from tests.server.http_bytes import http_response
from tests.server.http_server import HttpServer
from tests.server.recordings import load
from tests.server.replay import ReplayServer

DEEP = b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
JSON = {"Content-Type": "application/json"}


def connection(to: HttpServer) -> Connection:
    return Connection(Address.from_text(to.address))


def saying(body: bytes, status: int = 200, headers: Mapping[str, str] = JSON) -> FaultServer:
    """A server that answers so to everything."""
    return FaultServer({"*": [Send(http_response(status, headers, body))]})


def stored(*lines: str) -> ModelDescription:
    return to_description({"parameters": "\n".join(lines)})


def test_a_recorded_model_is_described() -> None:
    with ReplayServer(load("ollama", "show")) as replay:
        shown = api.describe(connection(replay), "demo", Stop())

    assert shown == ModelDescription(
        architecture="llama",
        quantization="Q8_0",
        parameters=3_049_920,
        layers=6,
        trained_context=1024,
        sampling=Sampling(stop=("<|im_start|>", "<|im_end|>")),
    )


def test_a_model_that_is_not_there_has_no_description() -> None:
    with ReplayServer(load("ollama", "show")) as replay:
        shown = api.describe(connection(replay), "nothing", Stop())

    assert shown is None


def test_recorded_stored_parameters_are_read() -> None:
    show = next(e for e in load("ollama", "create") if e.request.path == "/api/show")

    shown = to_description(json.loads(show.response.body))

    assert (shown.ctx, shown.sampling) == (512, Sampling(temperature=0.0, stop=("END",)))


@pytest.mark.parametrize(
    ("line", "sampling"),
    [
        pytest.param("temperature                    0.7", Sampling(temperature=0.7), id="padded"),
        pytest.param("top_k 20", Sampling(top_k=20), id="whole number"),
        pytest.param("num_predict -1", Sampling(), id="no limit"),
        pytest.param("num_predict 1e+06", Sampling(max_tokens=1_000_000), id="as Go writes large numbers"),
        pytest.param("num_predict 1e+300", Sampling(), id="too large"),
        pytest.param("seed 42", Sampling(seed=42), id="seed"),
        pytest.param("temperature 0.5\ntemperature 0.9", Sampling(temperature=0.5), id="given twice"),
        pytest.param("top_k 0.5", Sampling(), id="no whole number"),
        pytest.param("top_p 7", Sampling(), id="out of range"),
        pytest.param("min_p nan", Sampling(), id="not a number"),
        pytest.param("repeat_penalty inf", Sampling(), id="infinite"),
        pytest.param("temperature", Sampling(), id="no value"),
        pytest.param("mirostat 2", Sampling(), id="unknown"),
        pytest.param('stop "<|im_end|>"', Sampling(stop=("<|im_end|>",)), id="stop"),
        pytest.param(r'stop "\nUser:"', Sampling(stop=("\nUser:",)), id="line end"),
        pytest.param(r'stop "\"\\\u003c"', Sampling(stop=('"\\<',)), id="escapes"),
        pytest.param(r'stop "a b  c"', Sampling(stop=("a b  c",)), id="spaces"),
        pytest.param("stop 世\u2028界", Sampling(stop=("世\u2028界",)), id="line end of Unicode"),
        pytest.param(r'stop "\ud800"', Sampling(stop=("\ufffd",)), id="half a character"),
        pytest.param('stop "cut', Sampling(), id="no closing quote"),
        pytest.param('stop ""', Sampling(), id="empty"),
        pytest.param("stop <end>", Sampling(stop=("<end>",)), id="without quotes"),
    ],
)
def test_stored_parameters_are_read(line: str, sampling: Sampling) -> None:
    assert stored(line).sampling == sampling


def test_stored_parameters_that_are_no_numbers_are_ignored() -> None:
    assert to_description({"parameters": "temperature hot\ntop_k 7"}).sampling == Sampling(top_k=7)


def test_several_stop_texts_are_stored_in_order() -> None:
    assert stored('stop "b"', "top_k 1", 'stop "a"').sampling == Sampling(top_k=1, stop=("b", "a"))


@pytest.mark.parametrize(
    ("line", "ctx"),
    [("num_ctx 512", 512), ("num_ctx 1.048576e+06", 1_048_576), ("num_ctx 0", None), ("num_ctx -1", None), ("", None)],
)
def test_the_stored_context_is_read(line: str, ctx: int | None) -> None:
    assert stored(line).ctx == ctx


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        pytest.param({"model_info": {"general.parameter_count": 7}}, 7, id="counted"),
        pytest.param({"details": {"parameter_size": "8.0B"}}, 8_000_000_000, id="written"),
        pytest.param({"details": {"parameter_size": "3.05M"}}, 3_050_000, id="millions"),
        pytest.param({"details": {"parameter_size": "1.2.3B"}}, None, id="no number"),
        pytest.param({"details": {"parameter_size": "many"}}, None, id="words"),
        pytest.param({"details": {"parameter_size": 8}}, None, id="no text"),
    ],
)
def test_the_number_of_weights_is_read(document: dict[str, Any], parameters: int | None) -> None:
    assert to_description(document).parameters == parameters


@pytest.mark.parametrize("name", ["tags", "tags-namespaces"])
def test_recorded_lists_of_models_are_read(name: str) -> None:
    with ReplayServer(load("ollama", name)) as replay:
        infos = api.list_models(connection(replay))
        url = replay.address

    entries = json.loads(load("ollama", name)[0].response.body)["models"]
    assert [f"{info.name}:latest" if ":" not in info.name else info.name for info in infos] == [
        entry["name"] for entry in entries
    ]
    assert infos[-1] == ModelInfo(
        reference=f"ollama:demo@{url}",
        name="demo",
        source="daemon",
        size_bytes=3_313_079,
        architecture="llama",
        parameters=3_050_000,
        quantization="Q8_0",
        context=1024,
        kind="chat",
        engine="ollama",
        address=Address.from_text(url),
    )


def test_a_model_that_only_embeds_is_no_chat_model() -> None:
    body = b'{"models":[{"name":"e","capabilities":["embedding"]},{"name":"c","capabilities":["completion"]}]}'
    with saying(body) as there:
        kinds = [info.kind for info in api.list_models(connection(there))]

    assert kinds == ["embedding", "chat"]


def test_names_that_nobody_could_type_are_left_out() -> None:
    names = ["good", "a@b", "http://h:1/m", "x//y", "", "\x1b[2J", "a\nb", "x" * 300, None, 7, {"a": 1}]
    body = json.dumps({"models": [{"name": name} for name in names]}).encode()
    with saying(body) as there:
        found = [info.name for info in api.list_models(connection(there))]
        running = [model.name for model in api.models_in_memory(connection(there))]

    assert found == running == ["good"]


def test_a_recorded_list_of_running_models_is_read() -> None:
    ps = [exchange for exchange in load("ollama", "num-gpu") if exchange.request.path == "/api/ps"]
    with ReplayServer(ps[:1]) as replay:
        running = {model.name: model for model in api.models_in_memory(connection(replay))}

    entries = {entry["name"]: entry for entry in json.loads(ps[0].response.body)["models"]}
    assert {name: (model.size, model.size_vram, model.context) for name, model in running.items()} == {
        name: (entry["size"], entry["size_vram"], entry["context_length"]) for name, entry in entries.items()
    }
    assert all(model.device == "CPU" for model in running.values())


@pytest.mark.parametrize(
    ("size", "size_vram", "device"),
    [
        pytest.param(0, 0, "CPU", id="nothing known"),
        pytest.param(100, 0, "CPU", id="no GPU"),
        pytest.param(100, 100, "GPU", id="all"),
        pytest.param(0, 100, "GPU", id="size not known"),
        pytest.param(100, 59, "41% CPU, 59% GPU", id="both"),
        pytest.param(1000, 1, "99% CPU, 1% GPU", id="hardly any"),
        pytest.param(1000, 999, "1% CPU, 99% GPU", id="hardly none"),
        pytest.param(10**400, 10**399, "90% CPU, 10% GPU", id="absurd"),
    ],
)
def test_the_device_is_written_in_words(size: int, size_vram: int, device: str) -> None:
    assert ModelInMemory(name="demo", size=size, size_vram=size_vram).device == device


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param("2319-03-04T12:14:39.576272481Z", "until it is unloaded", id="for ever"),
        pytest.param("", "for a time that it does not report", id="nothing"),
        pytest.param("soon", "for a time that it does not report", id="no time"),
        pytest.param("2026-13-45T99:99:99Z", "for a time that it does not report", id="impossible"),
        pytest.param("2026-11-22", "for a time that it does not report", id="a day alone"),
        pytest.param("٢٠٢٦-11-22T12:00:00Z", "for a time that it does not report", id="other digits"),
    ],
)
def test_how_long_a_model_stays_is_written_in_words(written: str, kept: str) -> None:
    assert ModelInMemory(name="demo", expires_at=written).expiry == kept


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30", "-11:00"])
@pytest.mark.parametrize("fraction", ["", ".5", ".326846903"])
@pytest.mark.parametrize("day", ["2026-11-22", "0001-01-01", "1969-12-31"])
def test_when_a_model_leaves_is_written_in_local_time(day: str, fraction: str, zone: str) -> None:
    kept = ModelInMemory(name="demo", expires_at=f"{day}T12:32:25{fraction}{zone}").expiry

    assert re.fullmatch(r"until \d\d:\d\d:\d\d", kept)


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_at_the_ends_of_the_calendar_are_no_crash(written: str) -> None:
    assert ModelInMemory(name="demo", expires_at=written).expiry


@pytest.mark.parametrize(
    ("listed", "name", "is_it"),
    [
        ("demo:latest", "demo", True),
        ("demo:latest", "DEMO:latest", True),
        ("demo:latest", "demo:q4", False),
        ("demo:latest", "library/demo", True),
        ("demo:latest", "registry.ollama.ai/library/demo", True),
        ("me/demo:latest", "registry.ollama.ai/me/demo", True),
        ("hf.co/user/repo:Q8_0", "hf.co/User/repo:q8_0", True),
        ("localhost:5000/me/demo:latest", "localhost:5000/me/demo", True),
    ],
)
def test_names_that_mean_the_same_are_known(listed: str, name: str, is_it: bool) -> None:
    assert ModelInMemory(name=listed).is_called(name) == is_it


def test_a_recorded_ollama_is_known() -> None:
    with ReplayServer(load("ollama", "identity")) as replay:
        found = api.version(connection(replay)), api.is_ollama(connection(replay))

    assert found == ("0.33.0-rc2", True)


def test_a_server_without_a_version_is_no_ollama() -> None:
    with ReplayServer(load("llama-server", "identity")) as replay:
        assert not api.is_ollama(connection(replay))


def test_a_server_that_greets_otherwise_is_no_ollama() -> None:
    with saying(b'{"version":"1.2"}') as imitator:
        assert not api.is_ollama(connection(imitator))


def test_the_version_of_nobody_is_an_error() -> None:
    with FaultServer({}) as gone:
        address = Address.from_text(gone.address)

    with pytest.raises(DaemonNotReachable):
        api.version(Connection(address))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(403, b"", AccessDenied, id="forbidden"),
        pytest.param(401, b'{"error":"unauthorized"}', AccessDenied, id="no key"),
        pytest.param(404, b"404 page not found", DaemonError, id="no such page"),
        pytest.param(500, b'{"error":"disk on fire"}', DaemonError, id="failure"),
    ],
)
def test_a_list_that_is_refused_is_an_error(status: int, body: bytes, error: type[LocalLLMError]) -> None:
    with saying(body, status, {}) as there, pytest.raises(error):
        api.list_models(connection(there))


def test_a_web_page_is_no_list() -> None:
    page = b"<html><title>Log in</title></html>"
    with saying(page, 200, {"Content-Type": "text/html"}) as there, pytest.raises(DaemonError, match="Log in"):
        api.list_models(connection(there))


HOSTILE: list[object] = [None, True, 0, -1, 1.5, 10**400, 1e308, [], [[]], {}, {"a": {}}, [None]]
HOSTILE += ["", "text", "\x1b[2J", "\ud800", "x" * 5000]
SHOWN = {
    "parameters": 'stop "x"\nnum_ctx 9',
    "details": {"family": "llama", "parameter_size": "8B", "quantization_level": "Q4_0"},
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 8,
        "llama.block_count": 32,
        "llama.context_length": 4096,
    },
}
LISTED = {
    "models": [
        {"name": "a", "size": 1, "details": SHOWN["details"], "capabilities": ["completion"]},
        {"name": "b", "size": 2, "size_vram": 1, "expires_at": "2026", "context_length": 9},
    ]
}


def spoilt(document: Any, chance: random.Random) -> Any:  # noqa: ANN401 - JSON
    """DOCUMENT with something else at some place in it."""
    if not isinstance(document, dict | list) or not document or chance.random() < 0.2:
        return chance.choice(HOSTILE)
    if isinstance(document, list):
        place = chance.randrange(len(document))
        return [spoilt(item, chance) if index == place else item for index, item in enumerate(document)]
    key = chance.choice(list(document))
    return {**document, key: spoilt(document[key], chance)}


@pytest.mark.parametrize("seed", range(40))
def test_a_spoilt_description_is_read_as_far_as_it_goes(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(50):
        document = spoilt(SHOWN, chance)
        if isinstance(document, dict):
            shown = to_description(document)
            assert all(word is None or word.isprintable() for word in (shown.architecture, shown.quantization))


BODIES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="list"),
    pytest.param(b"{", id="cut off"),
    pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
    pytest.param(DEEP, id="nested deeply"),
    pytest.param(b'{"models":' + b"9" * 5000 + b"}", id="a number with many digits"),
    pytest.param(b'{"models":{"name":"x"}}', id="an object for a list"),
    pytest.param(b'{"models":[[],null,3,{"name":["x"]}]}', id="no models in the list"),
    *[
        pytest.param(json.dumps(spoilt(LISTED, random.Random(seed))).encode(), id=f"spoilt {seed}")  # noqa: S311 - no secret
        for seed in range(30)
    ],
]


@pytest.mark.parametrize("body", BODIES)
def test_nothing_that_a_server_says_is_a_crash(body: bytes) -> None:
    with saying(body) as there:
        to = connection(there)
        shown = api.describe(to, "demo", Stop())
        running, tags = api.models_in_memory(to), api.list_models(to)
        is_it = api.is_ollama(to)

    assert shown is not None
    assert all(isinstance(model.device, str) for model in running)
    assert all(info.name for info in tags)
    assert not is_it
