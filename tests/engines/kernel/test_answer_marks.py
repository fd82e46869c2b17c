"""Answers of models whose templates mark the reasoning and the end of a turn in ways of their own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.completion import Completion
from localllm_magics.core.sampling import Sampling
from tests.engines.kernel.asking import SHORT, answer, ask, fresh_engine
from tests.engines.kernel.scripted_model import START, control, write_scripted_model

Script = Sequence[str | bytes | tuple[str, int]]
Write = Callable[..., Completion]
GO = "{% if add_generation_prompt %}" + START + "{% endif %}"


def template(user: str = "[{}]", assistant: str = "{}", rest: str = "", go: str = GO) -> str:
    """A chat template with the words around the messages of each role; REST is in it, but nowhere written."""
    question, said = (words.replace("{}", "{{ m.content }}") for words in (user, assistant))
    turns = f"{{% if m.role == 'user' %}}{question}{{% else %}}{said}{{% endif %}}"
    return f"{{% for m in messages %}}{turns}{{% endfor %}}{{% if false %}}{rest}{{% endif %}}{go}"


HARMONY = template(
    "<|start|>user<|message|>{}<|end|>", "<|start|>assistant<|channel|>final<|message|>{}<|end|>", "analysis"
)
CHATML = template("<|im_start|>user\n{}<|im_end|>\n", "<|im_start|>assistant\n{}<|im_end|>\n")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Asks a model that writes a script."""

    def write(
        script: Script, source: str, others: Sequence[str] = (), n: int = 60, prompt: str = SHORT, raw: bool = False
    ) -> Completion:
        path = write_scripted_model(tmp_path / "scripted.gguf", script, source, others)
        with fresh_engine(describe_file(path, reference="scripted", source="folder")) as engine:
            return answer(engine, ask(prompt, Sampling(temperature=0.0, max_tokens=n), raw=raw))

    return write


CHANNELS = [
    *(control("<|channel|>"), "analysis", control("<|message|>"), "Hmm.", control("<|end|>")),
    *(control("<|start|>"), "assistant", "<|chan", "nel|>", "final", "<|mess", "age|>", "Paris"),
]
THOUGHT = template(rest="<|channel>thought <channel|>")


@pytest.mark.parametrize(
    ("script", "source", "others"),
    [
        pytest.param(CHANNELS, HARMONY, ["<|call|>", "<|return|>"], id="gpt-oss"),
        pytest.param(CHANNELS, HARMONY, [], id="gpt-oss, where llama.cpp takes a mark for an end"),
        pytest.param(
            [control("[THINK]"), "Hmm.", control("[/THINK]"), "Paris"],
            template(rest="[THINK][/THINK]"),
            (),
            id="Magistral",
        ),
        pytest.param(
            ["<seed:", "think>", "Hmm.", "</seed:think>", "Paris"],
            template(rest="<seed:think></seed:think>"),
            (),
            id="Seed-OSS",
        ),
        pytest.param(
            [control("<|channel>"), "thought", "\n", "Hmm.", control("<channel|>"), "Paris"], THOUGHT, (), id="Gemma 4"
        ),
        pytest.param(
            [
                *(control("<|START_THINKING|>"), "Hmm.", control("<|END_THINKING|>")),
                *(control("<|START_RESPONSE|>"), "Paris", control("<|END_RESPONSE|>")),
            ],
            template(rest="<|START_THINKING|><|END_THINKING|><|START_RESPONSE|><|END_RESPONSE|>"),
            (),
            id="Command R7B",
        ),
        pytest.param(["<think>", "Hmm.", "</think>", "Paris"], template(), (), id="no mark in the template"),
    ],
)
def test_reasoning_is_parted_by_the_marks_of_the_template(
    write: Write, script: Script, source: str, others: Sequence[str]
) -> None:
    completion = write(script, source, others)

    assert (completion.reasoning, completion.text) == ("Hmm.", "Paris")
    assert completion.stats.completion_tokens == len(script)


@pytest.mark.parametrize(
    ("script", "source", "text"),
    [
        pytest.param(["Paris", control("<|other|>"), "."], THOUGHT, "Paris.", id="unknown control token"),
        pytest.param([control("<|channel>"), "Paris", "."], THOUGHT, "Paris.", id="mark that begins nothing"),
        pytest.param(["Say ", "[THINK]", "."], template(rest="[THINK][/THINK]"), "Say [THINK].", id="quoted mark"),
        pytest.param(["[THINK]", "Paris"], template(), "[THINK]Paris", id="mark of other models"),
        pytest.param([control("[THINK]"), "Paris"], template(), "Paris", id="control token of other models"),
    ],
)
def test_control_tokens_are_never_shown(write: Write, script: Script, source: str, text: str) -> None:
    completion = write(script, source)

    assert (completion.reasoning, completion.text) == (None, text)


BYE = template("<|hi|>{}\n", "{}<|bye|>\n")


@pytest.mark.parametrize(
    ("script", "source", "others", "text"),
    [
        pytest.param(["Paris", "<|im", "_end", "|>", "And?"], CHATML, (), "Paris", id="no token of the vocabulary"),
        pytest.param(["Paris", control("<|bye|>"), "And?"], BYE, (), "Paris", id="a token that does not end"),
        pytest.param(["Say ", "<|b", "ye|>", "."], BYE, ["<|bye|>"], "Say <|bye|>.", id="text, where a token ends"),
        pytest.param(
            ["Paris", "[END FINAL ", "RESPONSE]"],
            template(rest="[END FINAL RESPONSE]"),
            (),
            "Paris",
            id="one that the system prompt asks for",
        ),
        pytest.param(["Say ", "[/x]", "."], template("{}", "{} [/x"), (), "Say [/x].", id="no mark"),
        pytest.param(["Paris", "."], template(go="{{ 1 / (messages | length - 3) }}" + GO), (), "Paris.", id="failing"),
    ],
)
def test_the_end_mark_of_the_template_ends_the_answer(
    write: Write, script: Script, source: str, others: Sequence[str], text: str
) -> None:
    completion = write(script, source, others)

    assert (completion.text, completion.finish_reason) == (text, "stop")


def test_plain_text_has_no_marks(write: Write) -> None:
    script = ["<think>", "Hmm.", "</think>", control("[THINK]"), "Paris", "<|b", "ye|>", "."]

    completion = write(script, template("[{}]", "{}<|bye|>", "[THINK][/THINK]"), prompt=START, raw=True)

    assert (completion.reasoning, completion.text) == (None, "<think>Hmm.</think>Paris<|bye|>.")


def test_a_mark_at_the_end_of_a_question_begins_no_reasoning(write: Write) -> None:
    completion = write([">", "Yes"], template("{}", go=""), prompt="What is <overthinking>")

    assert (completion.reasoning, completion.text) == (None, "Yes")


def test_a_limit_inside_a_character_shows_none_of_it(write: Write) -> None:
    llama = "🦙".encode()

    completion = write(["Hi ", llama[:2], llama[2:]], template(), n=2)

    assert (completion.text, completion.finish_reason) == ("Hi ", "length")
    assert completion.stats.completion_tokens == 2
