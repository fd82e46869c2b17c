import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import BadOption, GenerationFailed, PromptTooLong
from localllm_magics.core.events import ProgressEvent, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.decode import answer as answer_events
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.stream import Stream
from tests.engines.kernel.asking import (
    ALIKE,
    ENDLESS,
    GREEDY,
    LONG,
    SHORT,
    WILD,
    Answers,
    answer,
    ask,
    fresh_engine,
    generation_of,
    run,
)
from tests.engines.kernel.random_model import Metadata, write_random_model


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

    events = list(Stream(engine, generation_of(engine, ask(ALIKE))))

    first, *_, last = [event for event in events if isinstance(event, Reading)]
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
        text = "Once upon a time, there was a"
        words = 1
        while context < 256 - 12:
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


def load(lib: Library, path: Path, metadata: Metadata) -> LoadedModel:
    """A model with random weights and METADATA."""
    info = describe_file(write_random_model(path, metadata), reference="random", source="folder")
    return LoadedModel(lib, info, LoadOptions(ctx=256, threads=1), repack=True, progress=lambda _: None, stop=Stop())


def answered(
    lib: Library, loaded: LoadedModel, request: Request, stop: Stop, on_event: Callable[[ProgressEvent], object] = id
) -> Completion:
    generation = Generation(request, ModelUsed(reference="demo"))
    return run(answer_events(lib, loaded, generation, stop), generation, on_event)


@pytest.mark.parametrize(("room", "reason"), [(0, "error"), (1, "length"), (2, "length")])
def test_a_prompt_must_leave_room_for_a_token(lib: Library, loaded: LoadedModel, room: int, reason: str) -> None:
    texts = (" the" * count for count in range(1200, 0, -1))
    size = loaded.context.size - room
    text = next(t for t in texts if len(loaded.tokenizer.tokenize(t, add_special=True, parse_special=True)) == size)

    completion = answered(lib, loaded, ask(text, Sampling(temperature=0.0), raw=True), Stop())

    assert (completion.finish_reason, completion.stats.completion_tokens) == (reason, room)


def test_a_schema_is_refused(lib: Library, loaded: LoadedModel) -> None:
    completion = answered(lib, loaded, replace(ask(SHORT), schema={"type": "object"}), Stop())

    assert completion.error is not None
    assert "cannot be bound to a schema" in completion.error.message


@pytest.mark.parametrize("start", ["<think>\n", "<think>"], ids=repr)
def test_a_prompt_may_begin_the_reasoning(lib: Library, tmp_path: Path, start: str) -> None:
    loaded = load(lib, tmp_path / "x.gguf", {"tokenizer.chat_template": "{{ messages[0].content }}" + start})

    completion = answered(lib, loaded, ask(SHORT), Stop())

    assert completion.reasoning
    assert completion.text == ""
    loaded.close()


def test_plain_text_has_no_reasoning(lib: Library, tmp_path: Path) -> None:
    loaded = load(lib, tmp_path / "x.gguf", {})

    completion = answered(lib, loaded, ask("What? <think>", raw=True), Stop())

    assert completion.reasoning is None
    assert completion.text
    loaded.close()


def test_a_template_without_an_end_can_be_stopped(lib: Library, tmp_path: Path) -> None:
    loaded, stop = load(lib, tmp_path / "x.gguf", {"tokenizer.chat_template": ENDLESS}), Stop()
    threading.Timer(0.05, stop.set).start()

    assert answered(lib, loaded, ask(SHORT), stop).finish_reason == "stopped"
    loaded.close()


def test_an_abort_in_the_middle_of_a_decode_ends_the_answer(lib: Library, loaded: LoadedModel) -> None:
    def abort(event: ProgressEvent) -> None:
        if isinstance(event, TextDelta):
            loaded.context.abort()

    completion = answered(lib, loaded, ask(SHORT), Stop(), abort)

    assert (completion.finish_reason, completion.stats.completion_tokens) == ("stopped", 1)


def test_a_stop_between_two_chunks_of_the_prompt_ends_the_answer(lib: Library, loaded: LoadedModel) -> None:
    stop, read = Stop(), list[int]()

    def set_stop(event: ProgressEvent) -> None:
        if isinstance(event, Reading):
            read.append(event.done)
        if len(read) == 2:
            stop.set()
            loaded.context.clear_abort()  # as on a device that does not look at it

    completion = answered(lib, loaded, ask(f"Why? {LONG}"), stop, set_stop)

    assert (completion.finish_reason, completion.stats.completion_tokens, len(read)) == ("stopped", 0, 2)


def test_a_stop_between_two_decodes_ends_the_answer(lib: Library, loaded: LoadedModel) -> None:
    stop = Stop()

    def set_stop(event: ProgressEvent) -> None:
        if isinstance(event, TextDelta):
            stop.set()
            loaded.context.clear_abort()

    completion = answered(lib, loaded, ask(SHORT), stop, set_stop)

    assert (completion.finish_reason, completion.stats.completion_tokens) == ("stopped", 1)


def test_a_stop_keeps_what_was_held_back(lib: Library, loaded: LoadedModel, fresh: Answers) -> None:
    stop = Stop()
    first = answered(lib, loaded, ask(SHORT, Sampling(temperature=0.0, max_tokens=1)), Stop(), lambda _: None).text

    def set_stop(event: ProgressEvent) -> None:
        if isinstance(event, TextDelta):
            stop.set()
            loaded.context.clear_abort()

    # The last character of the first token is held back as long as this text may follow.
    held = Sampling(temperature=0.0, stop=(f"{fresh[SHORT, GREEDY][len(first) - 1 : 40]}\x00",))

    completion = answered(lib, loaded, ask(SHORT, held), stop, set_stop)

    assert (completion.finish_reason, completion.text) == ("stopped", first)


def test_an_error_in_the_middle_keeps_what_was_held_back(lib: Library, loaded: LoadedModel, fresh: Answers) -> None:
    def fill(event: ProgressEvent) -> None:
        """Leave no room in the context."""
        while isinstance(event, TextDelta | ReasoningDelta):
            try:
                loaded.context.decode(5)
            except GenerationFailed:
                return

    text = fresh[SHORT, GREEDY]
    # Its first token is held back as long as this text may follow.
    held = Sampling(temperature=0.0, stop=(f"{text[0]}\x00", f"{text[:40]}\x00"))

    completion = answered(lib, loaded, ask(SHORT, held), Stop(), fill)

    assert completion.error is not None
    assert completion.error.kind == "generation_failed"
    assert completion.text == text[: len(completion.text)] != ""
    assert completion.stats.tokens_per_second > 0
