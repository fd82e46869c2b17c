import ctypes
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import LoadFailed, NotEnoughMemory, PromptTooLong
from localllm_magics.core.memory_plan import HOST
from localllm_magics.core.messages import to_messages
from localllm_magics.core.model_info import ModelDefaults, ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel import loaded_model as module
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.machine import logical_cpus
from localllm_magics.engines.kernel.template import CHATML_NOTICE
from localllm_magics.engines.kernel.tokenizer import Tokenizer
from localllm_magics.engines.kernel.worker.build_probe import NOTICE
from tests.engines.kernel.asking import SHORT, ask
from tests.engines.kernel.random_model import write_random_model


def load(lib: Library, info: ModelInfo, options: LoadOptions, *, repack: bool = True) -> LoadedModel:
    return LoadedModel(lib, info, options, repack=repack, progress=lambda _: None, stop=Stop())


@pytest.mark.parametrize(
    ("options", "repack", "notices"),
    [
        pytest.param(LoadOptions(threads=1), True, [], id="nothing to tell"),
        pytest.param(LoadOptions(threads=1), False, [NOTICE], id="a build that crashes"),
        pytest.param(
            LoadOptions(threads=1, ctx=2048),
            True,
            ["The context of 2,048 tokens is larger than the trained one of 1,024."],
            id="more context than trained",
        ),
        pytest.param(
            LoadOptions(threads=1, ctx=2),
            True,
            ["The context has 256 tokens: llama.cpp rounds 2 up to a multiple of 256."],
            id="less context than there can be",
        ),
        pytest.param(LoadOptions(threads=1, ctx=1000), True, [], id="rounded up a little"),
    ],
)
def test_what_the_user_should_know_is_told(
    lib: Library, demo: ModelInfo, options: LoadOptions, repack: bool, notices: list[str]
) -> None:
    loaded = load(lib, demo, options, repack=repack)

    assert list(loaded.notices) == notices
    loaded.close()
    loaded.close()


def test_no_more_threads_are_used_than_can_run_at_once(lib: Library, demo: ModelInfo) -> None:
    loaded = load(lib, demo, LoadOptions(threads=500))

    threads = lib.function("llama_n_threads", ctypes.c_int32, ctypes.c_void_p)(loaded.context.pointer)
    loaded.close()

    assert threads == min(500, logical_cpus())
    assert [f"500 threads asked, {threads} used" in notice for notice in loaded.notices] == [True]


def test_sampling_comes_from_the_request_then_the_model_then_llama_cpp(lib: Library, demo: ModelInfo) -> None:
    defaults = ModelDefaults(sampling=Sampling(temperature=0.5, top_k=7))
    loaded = load(lib, replace(demo, defaults=defaults), LoadOptions(threads=1))

    sampling = Sampling(temperature=0.1).or_else(loaded.sampling)

    assert sampling == Sampling(temperature=0.1, top_k=7).or_else(LLAMA_CPP_SAMPLING)
    loaded.close()


@pytest.mark.parametrize("trained", [0, 2**31, 2**32 - 1])
def test_a_trained_context_that_cannot_be_is_a_usual_one(lib: Library, tmp_path: Path, trained: int) -> None:
    path = write_random_model(tmp_path / "x.gguf", {"llama.context_length": trained})

    loaded = load(lib, describe_file(path, reference="x", source="folder"), LoadOptions(threads=1))

    assert loaded.context.size == 4096
    assert [notice.partition(", so")[0] for notice in loaded.notices] == [
        "The file does not say how many tokens of context the model was trained with"
    ]
    loaded.close()


def test_layers_that_no_gpu_took_are_told(lib: Library, demo: ModelInfo) -> None:
    loaded = load(lib, demo, LoadOptions(threads=1, gpu_layers="all"))

    # A machine with a GPU takes them all.
    assert [notice[:10] for notice in loaded.notices] == ([] if lib.supports_gpu else ["All layers"])
    loaded.close()


def test_a_context_that_does_not_fit_leaves_nothing_in_memory(lib: Library, demo: ModelInfo) -> None:
    with pytest.raises(NotEnoughMemory, match=r"demo needs .* of memory with a context of 2,000,000,000 tokens"):
        load(lib, demo, LoadOptions(ctx=2_000_000_000))


def test_a_load_that_fails_at_its_end_leaves_nothing_in_memory(
    lib: Library, demo: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LoadFailed("Its vocabulary cannot be read.")

    monkeypatch.setattr(module, "Tokenizer", fail)
    loaded = LoadedModel.__new__(LoadedModel)

    with pytest.raises(LoadFailed, match="vocabulary"):
        LoadedModel.__init__(loaded, lib, demo, LoadOptions(), repack=True, progress=lambda _: None, stop=Stop())

    assert (loaded.context.pointer, loaded.model.pointer) == (None, None)


def test_a_model_without_a_file_cannot_be_loaded(lib: Library, demo: ModelInfo) -> None:
    with pytest.raises(LoadFailed, match="demo has no file"):
        load(lib, replace(demo, path=None), LoadOptions())


@pytest.fixture
def mine(demo: ModelInfo, tmp_path: Path) -> ModelInfo:
    """A copy of the bundled model, to be overwritten."""
    assert demo.path is not None
    return describe_file(Path(shutil.copy(demo.path, tmp_path / "mine.gguf")), reference="mine", source="folder")


def too_large(info: ModelInfo) -> ModelInfo:
    """INFO of a file that no memory holds, and of which no more is known."""
    return replace(info, size_bytes=10**15, shape=None)


FORCED = LoadOptions(threads=1, gpu_layers=0, force=True)


def test_weights_that_do_not_fit_into_memory_are_refused(lib: Library, mine: ModelInfo) -> None:
    with pytest.raises(NotEnoughMemory, match=r"mine needs 1\.2 PB of memory"):
        load(lib, too_large(mine), replace(FORCED, force=None))


def test_weights_that_are_forced_into_memory_are_mapped_which_is_a_notice(lib: Library, mine: ModelInfo) -> None:
    loaded = load(lib, too_large(mine), FORCED)

    assert "_Mapped model buffer" in loaded.model.log
    assert [notice[:38] for notice in loaded.notices] == ["The weights do not fit into the free m"]
    assert loaded.returned_bytes == {HOST: 0}
    loaded.close()


def truncate(path: Path) -> None:
    os.truncate(path, 1000)


def replace_file(path: Path) -> None:
    path.with_name("new").touch()
    path.with_name("new").replace(path)


def test_a_mapped_file_that_was_truncated_is_not_read(lib: Library, mine: ModelInfo) -> None:
    loaded = load(lib, too_large(mine), FORCED)
    assert mine.path is not None

    truncate(mine.path)

    with pytest.raises(LoadFailed, match=r"mine\.gguf was overwritten while in use") as caught:
        loaded.prompt(ask(SHORT), Stop())
    assert caught.value.hint == "Type: %llm load mine"
    loaded.close()


def test_a_mapped_file_that_was_replaced_before_the_load_is_watched_too(lib: Library, mine: ModelInfo) -> None:
    assert mine.path is not None
    Path(shutil.copy(mine.path, mine.path.with_name("new"))).replace(mine.path)
    loaded = load(lib, too_large(mine), FORCED)

    truncate(mine.path)

    with pytest.raises(LoadFailed, match=r"mine\.gguf was overwritten while in use"):
        loaded.prompt(ask(SHORT), Stop())
    loaded.close()


@pytest.mark.parametrize("change", [Path.unlink, replace_file, Path.touch])
def test_a_mapped_file_that_was_replaced_is_read_as_it_was(
    lib: Library, mine: ModelInfo, change: Callable[[Path], None]
) -> None:
    loaded = load(lib, too_large(mine), FORCED)
    assert mine.path is not None

    change(mine.path)

    assert loaded.prompt(ask(SHORT), Stop()).tokens
    loaded.close()


def test_a_raw_prompt_is_the_text(loaded: LoadedModel) -> None:
    assert loaded.prompt(ask(SHORT, raw=True), Stop()).text == SHORT


class Counting:
    """Counts how often the tokenizer is asked, and can stop."""

    def __init__(self, tokenizer: Tokenizer, stop: Stop | None = None) -> None:
        self.calls = 0
        self._tokenize = tokenizer.tokenize
        self._stop = stop

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        self.calls += 1
        if self._stop:
            self._stop.set()
        return self._tokenize(text, add_special=add_special, parse_special=parse_special)


@pytest.mark.parametrize("raw", [False, True], ids=["chat", "raw"])
def test_a_prompt_far_too_long_is_refused_before_it_is_read(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, raw: bool
) -> None:
    counting = Counting(loaded.tokenizer)
    monkeypatch.setattr(loaded.tokenizer, "tokenize", counting.tokenize)

    with pytest.raises(PromptTooLong) as caught:
        loaded.prompt(ask("word " * 2_000_000, raw=raw), Stop())

    assert counting.calls == 1
    # 2,000,000, and what the cuts and the template add.
    assert re.fullmatch(
        r"The prompt has about 2,00\d,\d{3} tokens, and the context of demo holds 1,024\.", caught.value.message
    )
    assert caught.value.hint.startswith("Shorten the prompt by about ")


def test_a_long_prompt_that_fits_has_the_same_tokens(lib: Library, demo: ModelInfo) -> None:
    loaded = load(lib, demo, LoadOptions(threads=1, ctx=2**15))
    text = "The cat sleeps. " * 4200

    tokens = loaded.prompt(ask(text, raw=True), Stop()).tokens

    assert tokens == loaded.tokenizer.tokenize(text, add_special=True, parse_special=True)
    loaded.close()


def test_a_stop_ends_the_counting_of_a_long_prompt(
    lib: Library, demo: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, stop = load(lib, demo, LoadOptions(threads=1, ctx=2**16)), Stop()
    counting = Counting(loaded.tokenizer, stop)
    monkeypatch.setattr(loaded.tokenizer, "tokenize", counting.tokenize)

    with pytest.raises(Stopped):
        loaded.prompt(ask("The cat sleeps. " * 20_000, raw=True), stop)

    assert counting.calls == 1
    loaded.close()


def test_a_chat_prompt_has_the_template_around_it(loaded: LoadedModel) -> None:
    prompt = loaded.prompt(Request(messages=to_messages(SHORT, system="Be brief.")), Stop())

    assert SHORT in prompt.text
    assert "Be brief." in prompt.text
    assert prompt.text != SHORT
    assert prompt.notices == ()


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("template", ["{{ bos_token }}{{ messages[0].content }}", "{{ messages[0].content }}"])
def test_a_beginning_that_is_written_already_is_not_added_again(
    lib: Library, tmp_path: Path, template: str, *, adds_bos: bool
) -> None:
    path = write_random_model(
        tmp_path / "bos.gguf", {"tokenizer.chat_template": template, "tokenizer.ggml.add_bos_token": adds_bos}
    )
    loaded = load(lib, describe_file(path, reference="bos", source="folder"), LoadOptions(ctx=256, threads=1))
    bos = loaded.tokenizer.bos

    def tokens(text: str, *, raw: bool = False) -> list[int]:
        return loaded.prompt(ask(text, raw=raw), Stop()).tokens

    (cat,) = loaded.tokenizer.tokenize("c", add_special=False, parse_special=False)
    (first,) = loaded.tokenizer.tokenize(bos, add_special=False, parse_special=True)
    plain = loaded.tokenizer.tokenize(bos, add_special=False, parse_special=False)
    beginning = [first] * (adds_bos or "bos" in template)
    assert tokens("c") == [*beginning, cat]
    assert tokens(bos + "c") == [*beginning, *plain, cat]  # in a message it is data
    assert tokens("c", raw=True) == [first, cat][not adds_bos :]
    assert tokens(bos + "c", raw=True) == [first, cat]
    assert tokens(bos + bos + "c", raw=True) == [first, first, cat]
    loaded.close()


def test_a_model_without_a_template_says_so(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "base.gguf", {"tokenizer.chat_template": None})
    loaded = load(lib, describe_file(path, reference="base", source="folder"), LoadOptions(ctx=256, threads=1))

    assert loaded.prompt(ask("cat"), Stop()).notices == (CHATML_NOTICE,)
    loaded.close()


def test_one_load_waits_for_another_and_can_be_stopped(lib: Library, demo: ModelInfo) -> None:
    stop, begun, outcome = Stop(), threading.Event(), list[type[BaseException]]()

    def wait_in_vain() -> None:
        begun.set()
        try:
            LoadedModel(lib, demo, LoadOptions(), repack=True, progress=lambda _: None, stop=stop)
        except Stopped:
            outcome.append(Stopped)

    waiter = threading.Thread(target=wait_in_vain)

    def progress(_: float) -> None:
        if not begun.is_set():
            waiter.start()
            begun.wait()
            waiter.join(0.2)  # it waits
            stop.set()
            waiter.join()

    load_first = LoadedModel(lib, demo, LoadOptions(threads=1), repack=True, progress=progress, stop=Stop())

    assert outcome == [Stopped]
    load_first.close()
