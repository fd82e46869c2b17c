"""Servers, told apart by their answers."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.errors import AccessDenied, DaemonBusy, DaemonError, DaemonNotReachable
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.openai.identity import Identity, ServedModel, ServerKind, identify, to_models
from localllm_magics.engines.server.connection import Connection
from tests.engines.openai import imitations as they
from tests.engines.openai.imitations import FALLBACK, models, said, text
from tests.server.faults import FaultServer, Hold, InTurn, Steps, Wait
from tests.server.server_process import free_port
from tests.server.waiting import PATIENCE

Script = Mapping[str, Steps | InTurn]
Connect = Callable[[Script], Connection]


@pytest.mark.parametrize(
    ("script", "name", "names"),
    [
        pytest.param(they.LLAMA_SERVER, "llama-server b0-0c1e57098", ["demo"], id="llama-server"),
        pytest.param(they.ROUTER, "llama-server (router) b9-abc", ["a", "b"], id="router"),
        pytest.param(they.LLAMAFILE, "llamafile 0.9", ["LLaMA_CPP"], id="llamafile 0.9"),
        pytest.param(they.LLAMAFILER, "llamafile 0.9 --v2", ["mistral"], id="llamafiler"),
        pytest.param(they.LLAMA_CPP_SERVER, "llama_cpp.server", ["/m/demo.gguf"], id="llama_cpp.server"),
        pytest.param(they.VLLM, "vLLM 0.11.0", ["org/big"], id="vLLM"),
        pytest.param(they.LM_STUDIO, "LM Studio", ["qwen", "phi"], id="LM Studio"),
        pytest.param(they.OLLAMA, "Ollama 0.33.0", ["demo:latest"], id="Ollama"),
        pytest.param(they.OTHER, "OpenAI-compatible server", ["some-model"], id="other"),
    ],
)
def test_each_kind_of_server_is_known(connect: Connect, script: Script, name: str, names: list[str]) -> None:
    identity = identify(connect(script))

    assert identity.name == name
    assert [model.name for model in identity.models] == names
    assert not identity.is_loading


def test_llama_server_reports_its_window_its_defaults_and_its_model(connect: Connect) -> None:
    identity = identify(connect(they.LLAMA_SERVER))

    assert identity.context == 512
    assert identity.sampling == Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0)
    assert identity.models == (
        ServedModel(
            name="demo",
            aliases=("demo",),
            context=512,
            size_bytes=3_247_872,
            parameters=3_049_920,
            quantization="Q8_0",
        ),
    )


def test_a_router_reports_what_is_loaded(connect: Connect) -> None:
    identity = identify(connect(they.ROUTER))

    assert [(model.status, model.context) for model in identity.models] == [("unloaded", None), ("loaded", 512)]


def test_lm_studio_reports_more_in_its_own_list(connect: Connect) -> None:
    identity = identify(connect(they.LM_STUDIO))

    assert identity.models == (
        ServedModel(name="qwen", context=2048, quantization="Q4_K_M", status="loaded"),
        ServedModel(name="phi", status="not-loaded"),
    )


@pytest.mark.parametrize(
    ("typed", "base", "path"),
    [
        pytest.param("", "", "/models", id="at the root"),
        pytest.param("/api", "/api", "/api/models", id="below /api, as Open WebUI"),
        pytest.param("/api", "/api/v1", "/api/v1/models", id="below /api/v1"),
        pytest.param("", "/api/v1", "/api/v1/models", id="below /api/v1 of a host"),
        pytest.param("/openai", "", "/openai/models", id="without a version"),
        pytest.param("/openai/v1", "/v1", "/openai/v1/models", id="below another path"),
        pytest.param("/api/v1/chat/completions", "", "/api/v1/models", id="/api/v1"),
        pytest.param("/api/v3", "", "/api/v3/models", id="another version"),
        pytest.param("/v1beta/openai/", "", "/v1beta/openai/models", id="as Gemini"),
    ],
)
def test_the_list_of_models_is_found_below_other_paths(
    serve: Callable[[Script], FaultServer], typed: str, base: str, path: str
) -> None:
    server = serve({**they.NOTHING, path: said(models("m"))})

    identity = identify(Connection(Address.from_text(f"{server.address}{typed}")))

    assert (identity.base, [model.name for model in identity.models]) == (base, ["m"])


def test_vllm_reports_its_window(connect: Connect) -> None:
    assert [model.context for model in identify(connect(they.VLLM)).models] == [4096]


@pytest.mark.parametrize("path", [FALLBACK, "/v1/models"])
def test_a_server_that_loads_is_known_as_loading(connect: Connect, path: str) -> None:
    script = {**they.NOTHING, path: they.LOADING[FALLBACK]}

    assert identify(connect(script)) == Identity(kind=ServerKind.LLAMA_SERVER, is_loading=True)


def test_llama_server_is_known_without_its_properties(connect: Connect) -> None:
    script = {**they.WANTS_KEY, "/v1/models": they.LLAMA_SERVER["/v1/models"]}

    assert identify(connect(script)).kind is ServerKind.LLAMA_SERVER


@pytest.mark.parametrize("script", [they.WANTS_KEY, they.VLLM_WANTS_KEY], ids=["llama-server", "vLLM"])
def test_a_server_that_wants_a_key_is_an_error(connect: Connect, script: Script) -> None:
    with pytest.raises(AccessDenied, match=r"wants a key, or another one \(status 401\): .*\n.*LOCALLLM_API_KEY"):
        identify(connect(script))


@pytest.mark.parametrize("script", [they.NOTHING, {"/v1/models": said({}, 400)}], ids=["nothing", "another API"])
def test_a_server_of_something_else_is_an_error(connect: Connect, script: Script) -> None:
    with pytest.raises(DaemonError, match="is not a model server: /v1/models has no list of models"):
        identify(connect(script))


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        pytest.param(they.WEB_SITE[FALLBACK], DaemonError, "answered with a web page ('Shop')", id="web site"),
        pytest.param(said({}, 302, {"Location": "/login"}), DaemonError, "redirects to /login", id="redirect"),
        pytest.param(said({"error": "too fast"}, 429), DaemonBusy, "busy (status 429): too fast", id="busy"),
        pytest.param(said({"error": "boom"}, 500), DaemonError, "failed (status 500): boom", id="failure"),
        pytest.param(said({"error": "busy"}, 503), DaemonBusy, "busy (status 503)", id="unavailable"),
        pytest.param(text("", 407), AccessDenied, "status 407", id="proxy"),
        pytest.param(
            text("<title>The plain HTTP request was sent to HTTPS port</title>", 400, "text/html"),
            DaemonNotReachable,
            "wants TLS",
            id="TLS",
        ),
    ],
)
def test_a_refusal_is_told_as_it_is_when_a_model_is_asked(
    connect: Connect, steps: Steps, error: type[DaemonError], words: str
) -> None:
    with pytest.raises(DaemonError) as caught:
        identify(connect({FALLBACK: steps}))

    assert (type(caught.value), words in caught.value.message) == (error, True)


def test_a_key_is_in_no_refusal(serve: Callable[[Script], FaultServer]) -> None:
    server = serve({FALLBACK: said({"error": "wrong key: sk-secret"}, 500)})

    with pytest.raises(DaemonError) as caught:
        identify(Connection(Address.from_text(server.address), "sk-secret"))

    assert "sk-secret" not in str(caught.value)


def test_the_words_of_ollama_alone_do_not_make_one(connect: Connect) -> None:
    script = {
        **they.OTHER,
        "/api/version": said({"version": "0.1"}),
        "/": text("<title>Proxy</title>", 200, "text/html"),
    }

    assert identify(connect(script)).kind is ServerKind.OTHER


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(DaemonNotReachable, match="Nothing listens"):
        identify(Connection(Address("http", "127.0.0.1", free_port())))


def test_asking_can_be_stopped(connect: Connect) -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        identify(connect({FALLBACK: [Hold()]}), stop)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"data": 7}', id="a number"),
        pytest.param(b'{"data": null}', id="null"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b'{"data": [' + b"9" * 5000 + b"]}", id="a long number"),
        pytest.param(b'"data"', id="a text"),
    ],
)
def test_hostile_lists_are_no_list(connect: Connect, body: bytes) -> None:
    with pytest.raises(DaemonError, match="is not a model server"):
        identify(connect({**they.NOTHING, "/v1/models": said(body)}))


@pytest.mark.parametrize(
    "props",
    [
        pytest.param({"build_info": 7, "default_generation_settings": None}, id="other types"),
        pytest.param({"build_info": "\x1b[31mred"}, id="terminal sequence"),
        pytest.param({"build_info": "b" * 10_000}, id="flood"),
        pytest.param({"total_slots": [], "default_generation_settings": {"params": {"top_p": 7.0}}}, id="impossible"),
        pytest.param({"default_generation_settings": {"params": {"min_p": -1, "top_k": "x"}, "n_ctx": -5}}, id="less"),
    ],
)
def test_hostile_props_say_nothing(connect: Connect, props: object) -> None:
    script = {**they.NOTHING, "/props": said(props), "/v1/models": said(b"{")}

    assert identify(connect(script)) == Identity(kind=ServerKind.LLAMA_SERVER)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(7, id="number"),
        pytest.param({}, id="no name"),
        pytest.param({"id": ""}, id="empty"),
        pytest.param({"id": ["x"]}, id="list"),
        pytest.param({"id": "\x1b]0;title\x07"}, id="terminal sequence"),
        pytest.param({"id": "a\nb"}, id="two lines"),
        pytest.param({"id": "x" * 1000}, id="flood"),
        pytest.param({"id": "safe\u202egpj"}, id="reversed"),
    ],
)
def test_models_that_cannot_be_named_are_left_out(entry: object) -> None:
    assert [model.name for model in to_models({"data": [entry, {"id": "good"}]})] == ["good"]


def test_what_is_told_of_a_model_may_have_any_type() -> None:
    entry = {"id": "m", "aliases": ["n", 7, None], "meta": [], "status": "x", "max_model_len": True, "state": 3}

    assert to_models({"data": [entry]}) == (ServedModel(name="m", aliases=("n",)),)


@pytest.mark.parametrize(
    ("name", "is_meant"),
    [
        ("demo", True),
        ("DEMO", True),
        ("demo.gguf", True),
        ("/models/demo.gguf", True),
        ("small", True),
        ("dem", False),
        ("models/demo", False),
        ("", False),
    ],
)
def test_a_model_answers_to_its_name_its_file_and_its_aliases(name: str, is_meant: bool) -> None:
    served = ServedModel(name="/models/demo.gguf", aliases=("small",))

    assert served.is_called(name) == is_meant


@pytest.mark.parametrize(
    ("script", "more"),
    [
        pytest.param(they.LLAMA_SERVER, [], id="llama-server"),
        pytest.param(they.VLLM, ["/version"], id="vLLM"),
        pytest.param(they.OLLAMA, ["/"], id="Ollama"),
        pytest.param(they.OTHER, ["/api/v0/models", "/flagz"], id="other"),
    ],
)
def test_no_question_is_asked_twice(serve: Callable[[Script], FaultServer], script: Script, more: list[str]) -> None:
    server = serve(script)

    identify(Connection(Address.from_text(server.address)))

    assert sorted(request.path for request in server.requests) == sorted(
        ["/props", "/v1/models", "/api/version", *more]
    )


def test_the_first_questions_are_asked_at_once(serve: Callable[[Script], FaultServer]) -> None:
    all_came = threading.Event()
    answers = {path: [Wait(all_came), *steps] for path, steps in they.OTHER.items() if not isinstance(steps, InTurn)}
    server = serve(answers)

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(identify, Connection(Address.from_text(server.address)), None, PATIENCE)
        server.wait_for_requests(2)
        all_came.set()

        assert asked.result(PATIENCE).kind is ServerKind.OTHER


def test_aliases_that_cannot_be_shown_do_no_harm() -> None:
    assert to_models(models("m", aliases=["\x1b[31m"]))[0].name == "m"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("/models/demo.gguf", "demo.gguf"),
        ("C:\\models\\Demo.GGUF", "Demo.GGUF"),
        ("org/big", "org/big"),
        ("demo:latest", "demo:latest"),
    ],
)
def test_a_file_is_shown_without_its_folders(name: str, label: str) -> None:
    assert ServedModel(name=name).label == label


def test_a_file_answers_to_the_name_that_is_shown() -> None:
    served = ServedModel(name="C:\\models\\X.gguf")

    assert served.is_called(served.label)
    assert served.is_called("x")
