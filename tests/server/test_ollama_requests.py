"""What an Ollama is sent."""

import json
from typing import Any

import pytest

from localllm_magics.core.errors import ModelNotInDaemon
from localllm_magics.core.messages import Message
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from tests.engines.ollama.asking import END, LOADED, bodies, model_of, saying, script, telling
from tests.server.conftest import MakeFaultServer
from tests.server.faults import InTurn, Send
from tests.server.http_bytes import http_response
from tests.server.recordings import load

QUESTION = Request(messages=(Message.from_text("user", "Why?"),))
STORED = Sampling(temperature=0.8, top_k=7, top_p=0.95, min_p=0.05, repeat_penalty=1.0, stop=("<end>",))
NO_SHOW = [Send(http_response(404, {"Content-Type": "text/plain"}, b"404 page not found"))]


def test_a_question_is_sent_as_messages(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    completion = model_of(server).complete("Why?", system="Be brief.", seed=3, max_tokens=9)

    assert completion.text == "So"
    assert bodies(server) == [
        {
            "model": "demo",
            "stream": True,
            "truncate": False,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
            "options": {
                "num_ctx": 2048,
                "temperature": 0.8,
                "top_k": 7,
                "top_p": 0.95,
                "min_p": 0.05,
                "repeat_penalty": 1.0,
                "seed": 3,
                "num_predict": 9,
                "stop": ["<end>"],
            },
        }
    ]


def test_what_is_recorded_is_what_was_sent(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    completion = model_of(server).complete("Why?")

    (body,) = bodies(server)
    assert completion.sampling.seed == body["options"]["seed"]
    assert completion.sampling.stop == ("<end>",)
    assert completion.sampling.temperature == body["options"]["temperature"]


def test_a_text_to_continue_is_sent_raw(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    completion = model_of(server).complete("Once upon", raw=True)

    (body,) = bodies(server, "/api/generate")
    assert completion.text == "So"
    assert (body["prompt"], body["raw"], body["truncate"], body["options"]["num_ctx"]) == (
        "Once upon",
        True,
        False,
        2048,
    )
    assert "messages" not in body


@pytest.mark.parametrize(
    ("options", "show", "num_ctx"),
    [
        pytest.param(LoadOptions(), {}, 8192, id="nothing known"),
        pytest.param(
            LoadOptions(), {"model_info": {"general.architecture": "a", "a.context_length": 512}}, 512, id="s"
        ),
        pytest.param(
            LoadOptions(), {"model_info": {"general.architecture": "a", "a.context_length": 131072}}, 8192, id="large"
        ),
        pytest.param(LoadOptions(), {"parameters": "num_ctx 16384"}, 16384, id="stored"),
        pytest.param(LoadOptions(ctx=300), {"parameters": "num_ctx 16384"}, 300, id="asked"),
    ],
)
def test_the_context_is_always_sent(
    options: LoadOptions, show: dict[str, Any], num_ctx: int, fault_server: MakeFaultServer
) -> None:
    server = fault_server(script(show=[saying(show)], generate=[saying(LOADED)]))
    model = model_of(server, options=options)

    model.load()
    model.complete("Why?")

    assert [body["options"]["num_ctx"] for body in (*bodies(server, "/api/generate"), *bodies(server))] == [num_ctx] * 2


@pytest.mark.parametrize(("asked", "sent"), [(0, 0), (7, 7), ("all", 999), ("auto", -1), (None, None)])
def test_layers_for_the_gpu_are_sent(asked: Any, sent: int | None, fault_server: MakeFaultServer) -> None:  # noqa: ANN401 - a literal
    server = fault_server(script())

    model_of(server, options=LoadOptions(gpu_layers=asked)).complete("Why?")

    assert bodies(server)[0]["options"].get("num_gpu") == sent


def test_every_call_has_the_same_load_options(fault_server: MakeFaultServer) -> None:
    generate = InTurn([[saying(LOADED)], [telling({"response": "So"}, END)]])
    server = fault_server(script(generate=generate))
    model = model_of(server, options=LoadOptions(ctx=512, gpu_layers=3, threads=2))

    model.load()
    model.complete("Why?", temperature=0, max_tokens=1)
    model.complete("Once upon", raw=True, stop="END")
    model.preview(QUESTION)

    sent = [body["options"] for body in (*bodies(server, "/api/generate"), *bodies(server))]
    assert len(sent) == 4
    assert all(
        {name: options[name] for name in ("num_ctx", "num_gpu", "num_thread")}
        == {"num_ctx": 512, "num_gpu": 3, "num_thread": 2}
        for options in sent
    )


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        pytest.param("", None, id="not set"),
        pytest.param("10m", "10m", id="duration"),
        pytest.param("300", 300, id="seconds"),
        pytest.param("-1", -1, id="for ever"),
        pytest.param("0", 0, id="not at all"),
        pytest.param("²", "²", id="no number"),
        pytest.param("--1", "--1", id="nonsense"),
    ],
)
def test_how_long_to_keep_the_model_is_sent_only_if_it_is_set(
    typed: str, sent: object, fault_server: MakeFaultServer
) -> None:
    server = fault_server(script(generate=[saying(LOADED)]))
    model = model_of(server, keep_alive=typed)

    model.load()
    model.complete("Why?")

    assert [body.get("keep_alive") for body in (*bodies(server, "/api/generate"), *bodies(server))] == [sent] * 2
    assert ("keep_alive" in bodies(server)[0]) == (sent is not None)


def test_stop_texts_are_united_with_the_stored_ones(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    model_of(server).complete("Why?", stop=["END", "<end>"])

    assert bodies(server)[0]["options"]["stop"] == ["END", "<end>"]


def test_a_server_that_does_not_describe_its_models_keeps_its_own_defaults(fault_server: MakeFaultServer) -> None:
    server = fault_server(script(show=NO_SHOW))

    completion = model_of(server).complete("Why?", top_k=3)

    assert completion.text == "So"
    assert bodies(server)[0]["options"] == {"num_ctx": 8192, "top_k": 3}


@pytest.mark.parametrize("think", [True, False])
def test_whether_to_reason_is_sent(think: bool, fault_server: MakeFaultServer) -> None:
    answer = telling({"message": {"thinking": "Hm"}}, {"message": {"content": "So"}}, END)
    server = fault_server(script(chat=[answer]))

    completion = model_of(server).complete("Why?", think=think)

    assert bodies(server)[0]["think"] is think
    assert (completion.reasoning, completion.text) == ("Hm", "So")


def test_a_schema_is_sent_as_the_format(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    model_of(server).complete("Why?", schema=schema)

    assert bodies(server)[0]["format"] == schema


def test_what_is_not_asked_for_is_not_sent(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    model_of(server).complete("Why?")

    assert set(bodies(server)[0]) == {"model", "stream", "truncate", "messages", "options"}


def test_a_recorded_prompt_is_previewed(fault_server: MakeFaultServer) -> None:
    (recorded,) = load("ollama", "rendered-prompt")
    server = fault_server(script(chat=[Send(http_response(200, {}, recorded.response.body))]))
    request = Request(messages=(Message.from_text("user", "What is a token?"),), sampling=Sampling(seed=1))

    preview = model_of(server).preview(request)

    assert preview.prompt == "<|im_start|>user\nWhat is a token?<|im_end|>\n<|im_start|>assistant\n"
    assert json.loads(preview.sent)["messages"] == [{"role": "user", "content": "What is a token?"}]
    assert bodies(server)[0]["_debug_render_only"] is True


def test_a_preview_shows_what_would_be_sent(fault_server: MakeFaultServer) -> None:
    server = fault_server(script(chat=[saying({"_debug_info": {"rendered_template": "[Why?]"}})]))

    preview = model_of(server).preview(QUESTION)

    sent = json.loads(preview.sent)
    assert (preview.prompt, preview.context) == ("[Why?]", 2048)
    assert (sent["stream"], sent["options"]["seed"]) == (True, preview.sampling.seed)
    assert "_debug_render_only" not in sent
    assert "num_predict" not in sent["options"]


@pytest.mark.parametrize("answer", [{"message": {"content": "An answer."}}, {"_debug_info": 7}, []])
def test_a_server_that_answers_instead_of_showing_the_prompt_answers_briefly(
    answer: object, fault_server: MakeFaultServer
) -> None:
    server = fault_server(script(chat=[saying(answer)]))

    preview = model_of(server).preview(QUESTION)

    assert not preview.prompt
    assert bodies(server)[0]["options"]["num_predict"] == 1


def test_a_raw_preview_needs_no_server_to_render_it(fault_server: MakeFaultServer) -> None:
    server = fault_server(script())

    preview = model_of(server).preview(Request(messages=QUESTION.messages, raw=True))

    assert preview.prompt == "Why?"
    assert json.loads(preview.sent)["prompt"] == "Why?"
    assert bodies(server) == bodies(server, "/api/generate") == []


def test_the_preview_of_a_missing_model_fails(fault_server: MakeFaultServer) -> None:
    server = fault_server(script(show=NO_SHOW, chat=[saying({"error": "model 'demo' not found"}, 404)]))

    with pytest.raises(ModelNotInDaemon):
        model_of(server).preview(QUESTION)
