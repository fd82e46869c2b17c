"""A dry run shows the exact prompt and generates nothing."""

import json
from dataclasses import replace

import pytest
from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.sampling import Sampling
from localllm_magics.engines.base import Preview
from localllm_magics.notebook.dry_run import to_bundle
from localllm_magics.testing import ScriptedEngine


def preview(prompt: str) -> Preview:
    return Preview(prompt=prompt, tokens=((1, "a"), (2, "\x1b[0m\n")), context=1024, sampling=Sampling(temperature=0.0))


def test_it_shows_prompt_tokens_and_sampling() -> None:
    plain = to_bundle(preview("Why?"))["text/plain"]

    assert plain == "Why?\n\n2 tokens of 1,024; temperature 0.0. Nothing was generated.\n\n'a':1 '\\n':2"


def test_stop_texts_are_quoted() -> None:
    sampling = Sampling(temperature=0.0, stop=("\n", "END"))

    plain = to_bundle(replace(preview("Why?"), sampling=sampling))["text/plain"]

    assert r"; temperature 0.0, stop '\n' 'END'. " in str(plain)


def test_it_shows_what_had_to_be_done_for_the_template() -> None:
    bundle = to_bundle(replace(preview("Why?"), notices=("No system\x07 role.",)))

    assert ["Nothing was generated.\n\nNote: No system role." in str(text) for text in bundle.values()] == [True, True]


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        pytest.param(
            {"messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Why\n\nnot?"}]},
            "system:\n  Brief.\n\nuser:\n  Why\n\n  not?\n\nThe server does not show its prompt. Nothing was "
            "generated.\n\nThe body of the request:\n  {\n",
            id="messages",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
            'user:\n  [\n    {\n      "type": "text",\n      "text": "Hi"\n    }\n  ]\n\nThe server',
            id="parts",
        ),
        pytest.param(
            {"prompt": "Once"},
            "Once\n\nThe server does not show its prompt. Nothing was generated.\n\nThe body",
            id="no template",
        ),
    ],
)
def test_what_only_the_server_can_render_is_shown_role_by_role(body: dict[str, object], plain: str) -> None:
    sent = json.dumps(body, indent=2)
    bundle = to_bundle(Preview(prompt="", tokens=(), context=0, sampling=Sampling(), sent=sent))

    assert str(bundle["text/plain"]).startswith(plain)
    assert f"```json\n{sent}\n```" in str(bundle["text/markdown"])
    assert ("**user**\n\n```text\n" in str(bundle["text/markdown"])) is ("messages" in body)


@pytest.mark.parametrize(
    "prompt", ["", "````\n<b>\n````", "```", "a\n  ```````  \n<b>", "<script>x</script>", "a\x1b[31mb"]
)
def test_nothing_in_a_prompt_comes_to_life(prompt: str) -> None:
    bundle = to_bundle(preview(prompt))
    first, *lines = str(bundle["text/markdown"]).split("\n")
    end = lines.index(first.removesuffix("text"))

    assert "\x1b" not in str(bundle)
    assert lines[:end] == prompt.replace("\x1b[31m", "").split("\n")
    assert lines[end + 2] == "2 tokens of 1,024; temperature 0.0. Nothing was generated."


def test_the_model_is_not_asked(
    shell: InteractiveShell, engine: ScriptedEngine, displays: list[dict[str, object]]
) -> None:
    shell.push({"name": "Ada", "_llm": "the last one"})

    shell.run_cell("%%llm --dry-run -t 0\nHello {{ name }}")
    shell.run_cell("%llm ask --dry-run Hello {{ name }}")

    assert engine.requests == []
    assert [str(display["data"]).count("Hello Ada") for display in displays] == [2, 2]
    assert shell.user_ns["_llm"] == "the last one"


def test_the_bundled_model_shows_its_template(shell: InteractiveShell, displays: list[dict[str, object]]) -> None:
    shell.run_cell("%%llm demo --dry-run -s Brief.\nHello")

    (data,) = (str(display["data"]) for display in displays)
    assert "Brief." in data
    assert data.index("Brief.") < data.index("Hello")
    assert "Nothing was generated." in data
