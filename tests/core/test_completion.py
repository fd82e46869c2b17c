import json
import re
from dataclasses import replace

import mistune
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from localllm_magics.core.completion import MIME_TYPE, Completion, ErrorRecord, ModelUsed, Stats, Versions
from localllm_magics.core.sampling import Sampling

DONE = Completion(
    id="0a1b",
    text="Because *it* is.\n\nSo.\n",
    finish_reason="stop",
    model=ModelUsed(
        reference="demo",
        name="Demo",
        engine="kernel",
        device="CPU",
        architecture="llama",
        quantization="Q8_0",
        size_bytes=3_000_000,
        parameters=2_900_000,
        gpu_layers=0,
        layers=6,
        context=1024,
    ),
    versions=Versions(localllm_magics="0.1.0", engine="llama-cpp-python 0.3.36"),
    stats=Stats(
        prompt_tokens=30,
        cached_tokens=0,
        completion_tokens=8,
        load_seconds=0.25,
        ttft_seconds=0.333333333,
        prompt_seconds=0.5,
        decode_seconds=2.0,
        total_seconds=3.0,
    ),
    sampling=Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0, seed=7, stop=("END",)),
)
FAILED = replace(
    DONE, finish_reason="error", error=ErrorRecord(kind="stream_broken", message="It <img>broke.", hint="Try again.")
)
MARKUP = (
    *"details /details summary /summary script b /b pre !-- --".split(),
    *(
        "<",
        ">",
        "</",
        "</details>",
        "<details>",
        "</summary>",
        "```",
        "~~~~",
        "`",
        "\n",
        "\n\n",
        "    ",
        "> ",
        "- ",
        "1. ",
    ),
    *(
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
        "$$",
        "\\[",
        "&lt;",
        "&#60;",
        "<script>",
        "<pre>",
        "---",
        "# ",
        "| a |",
    ),
    *("[x]: http://a", "\\", "\u2028", "\r", "\x1b[2J", "word"),
)
FOOT = "demo · kernel on CPU · 8 tokens · 4.0 tok/s · first token 0.33 s · context 38 of 1,024"
SMALL = '<small style="color:gray">'


def test_the_document_holds_everything() -> None:
    assert DONE.to_json() == {
        "version": 1,
        "id": "0a1b",
        "state": "done",
        "text": "Because *it* is.\n\nSo.\n",
        "reasoning": None,
        "finish_reason": "stop",
        "model": {
            "reference": "demo",
            "name": "Demo",
            "engine": "kernel",
            "device": "CPU",
            "architecture": "llama",
            "quantization": "Q8_0",
            "size_bytes": 3_000_000,
            "parameters": 2_900_000,
            "gpu_layers": 0,
            "layers": 6,
            "context": 1024,
        },
        "stats": {
            "prompt_tokens": 30,
            "cached_tokens": 0,
            "completion_tokens": 8,
            "load_seconds": 0.25,
            "ttft_seconds": 0.333333,
            "prompt_seconds": 0.5,
            "decode_seconds": 2.0,
            "total_seconds": 3.0,
            "prompt_tokens_per_second": 60.0,
            "tokens_per_second": 4.0,
            "estimated": False,
        },
        "sampling": {
            "temperature": 0.8,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.05,
            "repeat_penalty": 1.0,
            "seed": 7,
            "max_tokens": None,
            "stop": ["END"],
        },
        "versions": {"localllm_magics": "0.1.0", "engine": "llama-cpp-python 0.3.36"},
        "notices": [],
        "value": None,
        "error": None,
    }


def test_the_document_survives_json() -> None:
    assert json.loads(json.dumps(FAILED.to_json())) == FAILED.to_json()


def test_counts_stay_whole_numbers() -> None:
    stats = DONE.to_json()["stats"]

    assert [type(stats[name]) for name in ("prompt_tokens", "load_seconds", "estimated")] == [int, float, bool]


@pytest.mark.parametrize(
    ("reason", "state"), [("stop", "done"), ("length", "done"), ("stopped", "stopped"), ("error", "failed")]
)
def test_the_reason_decides_the_state(reason: str, state: str) -> None:
    assert replace(DONE, finish_reason=reason).state == state  # type: ignore[arg-type] # all four are in the table


def test_its_text_is_the_answer() -> None:
    assert str(DONE) == DONE.text


def test_who_waits_for_it_has_it_at_once() -> None:
    assert DONE.wait() is DONE.wait(0) is DONE


def test_the_bundle_has_three_forms() -> None:
    bundle = DONE.to_bundle()

    assert bundle == {
        "text/markdown": f"Because *it* is.\n\nSo.\n\n{SMALL}● {FOOT}</small>",
        "text/plain": f"Because *it* is.\n\nSo.\n\n[{FOOT}]",
        MIME_TYPE: DONE.to_json(),
    }
    assert DONE._repr_mimebundle_(include=None) == bundle


def test_an_error_stands_below_the_text_so_far() -> None:
    plain = FAILED.to_plain()

    assert plain.startswith(
        "Because *it* is.\n\nSo.\n\nIt <img>broke.\nTry again.\n\n[demo · kernel on CPU · failed · "
    )


def test_an_error_is_no_markup() -> None:
    markdown = FAILED.to_markdown()

    assert "<img>" not in markdown
    assert "**It " in markdown
    assert "** Try again." in markdown


def test_an_error_that_is_told_elsewhere_is_not_repeated() -> None:
    bundle = FAILED.to_bundle(spell_error=False)

    assert [form for form in ("text/markdown", "text/plain") if "Try again." in str(bundle[form])] == []
    assert bundle[MIME_TYPE] == FAILED.to_json()


def test_an_empty_answer_is_only_its_foot() -> None:
    empty = replace(DONE, text="", stats=Stats(), finish_reason="stopped")

    assert empty.to_markdown() == f"{SMALL}■ demo · kernel on CPU · stopped before the first token</small>"
    assert empty.to_plain() == "[demo · kernel on CPU · stopped before the first token]"


def test_control_characters_do_not_reach_a_terminal() -> None:
    nasty = replace(DONE, text="a\x1b[2Jb\x07c")

    assert nasty.to_plain() == f"abc\n\n[{FOOT}]"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param({}, FOOT, id="done"),
        pytest.param(
            {"finish_reason": "length"},
            FOOT.replace("CPU", "CPU · cut off by the token limit"),
            id="length",
        ),
        pytest.param({"finish_reason": "stopped"}, FOOT.replace("CPU", "CPU · stopped"), id="stopped"),
        pytest.param(
            {"stats": replace(DONE.stats, estimated=True)},
            FOOT.replace("8 tok", "~8 tok").replace("4.0", "~4.0"),
            id="estimated",
        ),
        pytest.param(
            {"stats": replace(DONE.stats, cached_tokens=20)}, f"{FOOT} · 20 prompt tokens from the cache", id="cached"
        ),
        pytest.param(
            {"stats": replace(DONE.stats, completion_tokens=1)},
            "demo · kernel on CPU · 1 token · 0.5 tok/s · first token 0.33 s · context 31 of 1,024",
            id="one token",
        ),
        pytest.param(
            {"stats": replace(DONE.stats, completion_tokens=0), "finish_reason": "stopped"},
            "demo · kernel on CPU · stopped before the first token",
            id="stopped in the prompt",
        ),
        pytest.param(
            {"stats": replace(DONE.stats, prompt_tokens=0)}, FOOT.partition(" · context")[0], id="prompt not counted"
        ),
        pytest.param({"model": ModelUsed(reference="x"), "stats": Stats()}, "x", id="nothing known"),
        pytest.param(
            {"model": ModelUsed(reference="x"), "stats": Stats(), "text": " \n"}, "x · empty answer", id="empty"
        ),
        pytest.param({"notices": ("Slow.",)}, FOOT, id="notices"),
    ],
)
def test_one_line_sums_it_up(change: dict[str, object], line: str) -> None:
    assert replace(DONE, **change).summary() == line  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("stats", "rates"),
    [
        pytest.param(Stats(), (0, 0), id="nothing"),
        pytest.param(Stats(prompt_tokens=9, completion_tokens=9), (0, 0), id="no time"),
        pytest.param(Stats(prompt_tokens=9, prompt_seconds=3, completion_tokens=8, decode_seconds=2), (3, 4), id="all"),
        pytest.param(Stats(prompt_tokens=9, cached_tokens=8, prompt_seconds=1), (1, 0), id="cached"),
    ],
)
def test_rates_are_tokens_by_seconds(stats: Stats, rates: tuple[float, float]) -> None:
    assert (stats.prompt_tokens_per_second, stats.tokens_per_second) == rates


def test_notices_stand_in_paragraphs_of_their_own() -> None:
    noted = replace(DONE, notices=("Slow: type `%llm doctor`.", "Old <b>."))

    assert noted.to_plain() == (
        f"Because *it* is.\n\nSo.\n\nNote: Slow: type `%llm doctor`.\n\nNote: Old <b>.\n\n[{FOOT}]"
    )
    assert noted.to_markdown().endswith(
        f"So.\n\nNote: Slow: type `%llm doctor`.\n\nNote: Old &lt;b>.\n\n{SMALL}● {FOOT}</small>"
    )


@pytest.mark.parametrize(
    ("model", "label"),
    [
        pytest.param(ModelUsed(reference="demo"), "demo", id="nothing known"),
        pytest.param(
            ModelUsed(reference="demo", engine="kernel", device="CUDA0"), "demo · kernel on CUDA0", id="device"
        ),
        pytest.param(ModelUsed(reference="x", device="CPU"), "x · CPU", id="no engine"),
        pytest.param(ModelUsed(reference="ollama:x", engine="ollama", device="GPU"), "ollama:x · GPU", id="ollama"),
        pytest.param(ModelUsed(reference="http://127.0.0.1:8977"), "server at 127.0.0.1:8977", id="address"),
        pytest.param(
            ModelUsed(reference="http://127.0.0.1:8977/v1", name="mock", engine="openai"),
            "mock · openai at 127.0.0.1:8977",
            id="name by the server",
        ),
        pytest.param(
            ModelUsed(reference="https://h", name="https://h", engine="openai"), "openai at h", id="no name yet"
        ),
        pytest.param(ModelUsed(reference="ollama:x:1b@http://h:11434"), "x:1b · ollama at h:11434", id="both"),
        pytest.param(
            ModelUsed(reference="openai:a/b@https://h/v1?k", engine="openai", device="GPU"),
            "a/b · openai at h · GPU",
            id="device of a server",
        ),
    ],
)
def test_the_model_stands_before_its_server(model: ModelUsed, label: str) -> None:
    assert model.label == label


def test_notices_make_no_other_completion() -> None:
    assert replace(DONE, notices=("Slow.",)) == DONE


def test_reasoning_is_folded_above_the_answer() -> None:
    thought = replace(DONE, reasoning="First *this*.\n\nThen that.\n")

    assert thought.to_markdown() == (
        "<details><summary>Reasoning</summary>\n\nFirst *this*.\n\nThen that.\n\n</details>\n\n"
        f"Because *it* is.\n\nSo.\n\n{SMALL}● {FOOT}</small>"
    )
    assert thought.to_plain() == DONE.to_plain()
    assert thought.to_json()["reasoning"] == "First *this*.\n\nThen that.\n"


def test_reasoning_without_an_answer_is_shown() -> None:
    thought = replace(DONE, reasoning="Hm", text="", finish_reason="stopped")

    assert thought.to_markdown().startswith("<details><summary>Reasoning</summary>\n\nHm\n\n</details>\n\n<small ")


def tags(page: str) -> list[str]:
    """The tags of our own block, as PAGE has them."""
    return re.findall(r"</?(?:details|summary|small)\b|@@", page)


@given(st.lists(st.sampled_from(MARKUP), max_size=12).map("".join))
def test_no_reasoning_leaves_its_block(reasoning: str) -> None:
    markdown = replace(DONE, reasoning=f"x{reasoning}", text="@@").to_markdown()

    expected = ["<details", "<summary", "</summary", "</details", "@@", "<small", "</small"]
    pages = [MarkdownIt("commonmark", {"html": True}).render(markdown), str(mistune.html(markdown))]
    assert [tags(page) for page in pages] == [expected, expected]
    allowed = (
        r"<(?!/?(?:details|summary|small|p|br|hr|pre|code|em|strong|ul|ol|li|blockquote|h[1-6]|span)\b)[A-Za-z/!?]"
    )
    assert [re.findall(allowed, page) for page in pages] == [[], []]


def test_the_place_of_an_error_is_shown_as_code() -> None:
    error = ErrorRecord(kind="bad_expression", message="line 1: no\n    {{ x }}\n    ^^^^^^^", hint=r"Write `\{{`.")

    markdown = replace(FAILED, error=error).to_markdown()

    assert "**line 1: no**\n\n```\n{{ x }}\n^^^^^^^\n```\n\nWrite " in markdown
