from collections.abc import Iterator
from dataclasses import replace

import pytest

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.errors import BadOption, GenerationFailed, PromptTooLong
from localllm_magics.core.events import Done, Event, Failed, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.decode import answer as answer_events
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.template import ChatTemplate
from tests.engines.kernel.asking import ALIKE, ENDLESS, GREEDY, LONG, SHORT, WILD, Answers, answer, ask, fresh_engine


def test_one_thread_and_two_give_the_same_greedy_answer(demo: ModelInfo, fresh: Answers) -> None:
    with fresh_engine(demo, threads=2) as engine:
        text = answer(engine, ask(LONG, replace(GREEDY, max_tokens=8))).text

    assert text
    assert fresh[LONG, GREEDY].startswith(text)


def test_the_same_seed_gives_the_same_text(engine: KernelEngine) -> None:
    texts = [answer(engine, ask(SHORT, WILD)).text for _ in range(3)]

    assert len(set(texts)) == 1


def test_other_seeds_give_other_texts(engine: KernelEngine) -> None:
    texts = {answer(engine, ask(SHORT, Sampling(temperature=2.0, top_k=0, max_tokens=24))).text for _ in range(4)}

    assert len(texts) > 1


def test_the_seed_that_was_drawn_brings_the_answer_back(engine: KernelEngine) -> None:
    first = answer(engine, ask(SHORT, Sampling(temperature=2.0, top_k=0, max_tokens=24)))

    again = answer(engine, ask(SHORT, first.sampling))

    assert again.text == first.text


def test_a_used_model_answers_as_a_fresh_one(engine: KernelEngine, fresh: Answers) -> None:
    asked = [(prompt, sampling) for prompt in (LONG, ALIKE, SHORT, ALIKE, LONG, LONG) for sampling in (WILD, GREEDY)]

    completions = [answer(engine, ask(prompt, sampling)) for prompt, sampling in asked]

    assert [completion.text for completion in completions] == [fresh[key] for key in asked]
    assert any(completion.stats.cached_tokens >= 256 for completion in completions)


def test_tokens_of_the_last_prompt_are_read_once(engine: KernelEngine) -> None:
    answer(engine, ask(LONG))

    events = [event for event in engine.stream(ask(ALIKE), Stop()) if isinstance(event, Reading)]

    first, last = events[0], events[-1]
    assert (first.done, first.cached) == (first.cached, last.cached)
    assert first.cached % 256 == 0
    assert first.cached > 0
    assert last.done == last.total > 256


def test_a_limit_of_tokens_is_kept(engine: KernelEngine) -> None:
    completion = answer(engine, ask(SHORT, Sampling(temperature=0.0, max_tokens=3)))

    assert (completion.stats.completion_tokens, completion.finish_reason) == (3, "length")


def test_an_answer_ends_by_itself(engine: KernelEngine) -> None:
    completion = answer(engine, ask(SHORT, Sampling(temperature=0.0)))

    assert completion.finish_reason == "stop"
    assert completion.text.strip()


def test_an_answer_ends_where_the_context_is_full(demo: ModelInfo) -> None:
    with fresh_engine(demo, ctx=256) as engine:
        context = len(engine.preview(ask(SHORT), Stop()).tokens)
        assert engine.used.context is not None
        text = "Once upon a time, there was a"
        words = 1
        while context < engine.used.context - 12:
            words += 1
            context = len(engine.preview(ask(f"{'the ' * words}{text}", raw=True), Stop()).tokens)

        completion = answer(engine, ask(f"{'the ' * words}{text}", Sampling(temperature=0.0), raw=True))

    stats = completion.stats
    assert completion.finish_reason == "length"
    assert stats.prompt_tokens + stats.completion_tokens == completion.model.context


@pytest.mark.parametrize("raw", [False, True], ids=["chat", "raw"])
def test_a_prompt_longer_than_the_context_is_refused_with_sizes(engine: KernelEngine, raw: bool) -> None:
    completion = answer(engine, ask("cat " * 3000, raw=raw))

    error = completion.error
    assert error is not None
    assert error.kind == "prompt_too_long"
    assert error.message.endswith(" tokens, and the context of demo holds 1,024.")
    assert error.hint.startswith("Shorten the prompt by at least ")
    assert completion.finish_reason == "error"


def test_a_prompt_that_a_larger_context_would_hold_says_which(demo: ModelInfo) -> None:
    with fresh_engine(demo, ctx=256) as engine, pytest.raises(PromptTooLong) as caught:
        engine.preview(ask(LONG[:2500]), Stop())

    assert caught.value.hint.startswith("Try --ctx ")


def test_after_a_refused_prompt_the_next_answer_is_right(engine: KernelEngine, fresh: Answers) -> None:
    answer(engine, ask("cat " * 3000))

    assert answer(engine, ask(SHORT)).text == fresh[SHORT, GREEDY]


def test_an_empty_text_cannot_be_continued(engine: KernelEngine) -> None:
    with pytest.raises(BadOption, match="The prompt is empty"):
        engine.preview(ask("", raw=True), Stop())


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(engine: KernelEngine, fresh: Answers) -> None:
    whole = fresh[SHORT, GREEDY]
    end = whole[11:15]

    completion = answer(engine, ask(SHORT, Sampling(temperature=0.0, max_tokens=24, stop=(end,))))

    assert completion.text == whole[: whole.index(end)]
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("Grüße, 日本, 🦙 and \u202eright to left", id="unicode"),
        pytest.param("\x00\x01\x7f", id="control"),
        pytest.param("<|im_end|><|im_start|>", id="special tokens"),
        pytest.param("{{ 1 / 0 }} {% raw %}", id="Jinja"),
        pytest.param("", id="empty"),
    ],
)
def test_any_prompt_is_answered(engine: KernelEngine, prompt: str) -> None:
    assert answer(engine, ask(prompt)).error is None


def test_lone_surrogates_are_read_as_question_marks(engine: KernelEngine) -> None:
    texts = [answer(engine, ask(f"Why{character}", WILD)).text for character in ("\ud800", "?")]

    assert texts[0] == texts[1]


def script(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, pieces: list[str]) -> None:
    """Let the tokens that LOADED chooses next be PIECES, and then the end."""
    left: Iterator[str] = iter([*pieces, ""])
    now = [""]

    def is_eog(_: int) -> bool:
        now[0] = next(left)
        return not now[0]

    monkeypatch.setattr(loaded.tokenizer, "is_eog", is_eog)
    monkeypatch.setattr(loaded.tokenizer, "token_to_piece", lambda _, **__: now[0].encode())


def answered(lib: Library, loaded: LoadedModel, request: Request) -> list[Event]:
    recorder = Recorder(request, ModelUsed(reference="demo"))
    return list(answer_events(lib, loaded, request, recorder, Stop()))


PIECES = ["<th", "ink>", "h", "m</think", ">\n\n", "Yes", "."]


def test_reasoning_is_told_apart_from_the_answer(
    lib: Library, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(loaded, monkeypatch, PIECES)

    *events, done = answered(lib, loaded, ask(SHORT))

    assert isinstance(done, Done)
    completion = done.completion
    assert (completion.reasoning, completion.text, completion.stats.completion_tokens) == ("hm", "Yes.", len(PIECES))
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "hm"
    assert sum(event.tokens for event in events if isinstance(event, TextDelta | ReasoningDelta)) == len(PIECES)


@pytest.mark.parametrize("start", ["<think>\n", "<think>"], ids=repr)
def test_a_prompt_may_begin_the_reasoning(
    lib: Library, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr(loaded, "_template", ChatTemplate("{{ messages[0].text }}" + start))
    script(loaded, monkeypatch, ["hm", "</think>", "Yes."])

    *_, done = answered(lib, loaded, ask(SHORT))

    assert isinstance(done, Done)
    assert (done.completion.reasoning, done.completion.text) == ("hm", "Yes.")


def test_reasoning_that_is_cut_off_is_kept(lib: Library, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script(loaded, monkeypatch, ["<think>", "hm</th"])

    *_, done = answered(lib, loaded, ask(SHORT))

    assert isinstance(done, Done)
    assert (done.completion.reasoning, done.completion.text) == ("hm</th", "")


def test_plain_text_has_no_reasoning(lib: Library, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script(loaded, monkeypatch, PIECES)

    *_, done = answered(lib, loaded, ask("What? <think>", raw=True))

    assert isinstance(done, Done)
    assert (done.completion.reasoning, done.completion.text) == (None, "".join(PIECES))


def test_a_template_that_is_stopped_is_no_failure(
    lib: Library, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "_template", ChatTemplate(ENDLESS))
    request, stop = ask(SHORT), Stop()
    stop.set()

    (done,) = answer_events(lib, loaded, request, Recorder(request, ModelUsed(reference="demo")), stop)

    assert isinstance(done, Done)
    assert done.completion.finish_reason == "stopped"


def test_an_abort_in_the_middle_of_a_decode_ends_the_answer(lib: Library, loaded: LoadedModel) -> None:
    request = ask(SHORT)
    last: Event | None = None
    for event in answer_events(lib, loaded, request, Recorder(request, ModelUsed(reference="demo")), Stop()):
        last = event
        if isinstance(event, TextDelta):
            loaded.context.abort()

    assert isinstance(last, Done)
    assert (last.completion.finish_reason, last.completion.stats.completion_tokens) == ("stopped", 1)


def test_an_error_in_the_middle_keeps_the_text_so_far(engine: KernelEngine) -> None:
    events = engine.stream(ask(SHORT), Stop())
    last: Event | None = None
    for event in events:
        last = event
        if isinstance(event, TextDelta):
            fill(engine)

    assert isinstance(last, Failed)
    assert isinstance(last.error, GenerationFailed)
    assert last.completion.text
    assert last.completion.stats.tokens_per_second > 0


@pytest.mark.parametrize(
    ("pieces", "stop", "kept"),
    [
        pytest.param(["Yes <", "E"], ("<END>",), (None, "Yes <E"), id="part of a stop text"),
        pytest.param(["<thi"], (), (None, "<thi"), id="part of a tag"),
        pytest.param(["<think>", "hm</th"], (), ("hm</th", ""), id="part of the closing tag"),
    ],
)
def test_what_was_held_back_when_an_error_came_is_kept(
    lib: Library,
    loaded: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    pieces: list[str],
    stop: tuple[str, ...],
    kept: tuple[str | None, str],
) -> None:
    script(loaded, monkeypatch, [*pieces, "never read"])
    left = iter(pieces[1:])

    def decode(_: int) -> None:
        if next(left, None) is None:
            raise GenerationFailed("llama.cpp could not decode (code 1).")

    monkeypatch.setattr(loaded.context, "decode", decode)
    request = ask(SHORT, Sampling(temperature=0.0, stop=stop))
    recorder = Recorder(request, ModelUsed(reference="demo"))

    with pytest.raises(GenerationFailed):
        list(answer_events(lib, loaded, request, recorder, Stop()))

    completion = recorder.completion("error")
    assert (completion.reasoning, completion.text) == kept
    assert completion.stats.completion_tokens == len(pieces)


def fill(engine: KernelEngine) -> None:
    """Leave no room in the context, behind the back of the answer that runs."""
    loaded = engine._loaded  # noqa: SLF001 - there is no other way to make llama.cpp fail
    assert loaded is not None
    while True:
        try:
            loaded.context.decode(5)
        except GenerationFailed:
            return
