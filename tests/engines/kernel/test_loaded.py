import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import LoadFailed, NotEnoughMemory
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request, to_messages
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded import Loaded
from localllm_magics.engines.kernel.template import CHATML_NOTICE
from localllm_magics.engines.kernel.trial import NOTICE
from localllm_magics.engines.kernel.weights import LoadStopped
from tests.engines.kernel.asking import SHORT, ask
from tests.engines.kernel.random_model import write_random_model


def load(lib: Library, info: ModelInfo, options: LoadOptions, *, repack: bool = True) -> Loaded:
    return Loaded(lib, info, options, repack=repack, progress=lambda _: None, stop=Stop())


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
    ],
)
def test_what_the_user_should_know_is_told(
    lib: Library, demo: ModelInfo, options: LoadOptions, repack: bool, notices: list[str]
) -> None:
    loaded = load(lib, demo, options, repack=repack)

    assert list(loaded.notices) == notices
    loaded.close()
    loaded.close()


def test_layers_that_no_gpu_took_are_told(lib: Library, demo: ModelInfo) -> None:
    loaded = load(lib, demo, LoadOptions(threads=1, gpu_layers="all"))

    # A machine with a GPU takes them all.
    assert [notice[:10] for notice in loaded.notices] == ([] if lib.supports_gpu else ["All layers"])
    loaded.close()


def test_a_context_that_does_not_fit_leaves_nothing_in_memory(lib: Library, demo: ModelInfo) -> None:
    with pytest.raises(NotEnoughMemory, match="A context of 2,000,000,000 tokens needs"):
        load(lib, demo, LoadOptions(ctx=2_000_000_000))


def test_a_model_without_a_file_cannot_be_loaded(lib: Library, demo: ModelInfo) -> None:
    with pytest.raises(LoadFailed, match="demo has no file"):
        load(lib, replace(demo, path=None), LoadOptions())


def test_a_raw_prompt_is_the_text(loaded: Loaded) -> None:
    assert loaded.prompt(ask(SHORT, raw=True), Stop()).text == SHORT


def test_a_chat_prompt_has_the_template_around_it(loaded: Loaded) -> None:
    prompt = loaded.prompt(Request(messages=to_messages(SHORT, system="Be brief.")), Stop())

    assert SHORT in prompt.text
    assert "Be brief." in prompt.text
    assert prompt.text != SHORT
    assert prompt.notices == ()


def test_a_beginning_that_the_template_wrote_is_not_added_again(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(
        tmp_path / "bos.gguf",
        {"tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}", "tokenizer.ggml.add_bos_token": True},
    )
    loaded = load(lib, describe_file(path, reference="bos", source="folder"), LoadOptions(ctx=256, threads=1))

    chat, raw = loaded.prompt(ask("cat"), Stop()).tokens, loaded.prompt(ask("cat", raw=True), Stop()).tokens

    assert loaded.vocabulary.bos
    assert chat == raw
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
            Loaded(lib, demo, LoadOptions(), repack=True, progress=lambda _: None, stop=stop)
        except LoadStopped:
            outcome.append(LoadStopped)

    waiter = threading.Thread(target=wait_in_vain)

    def progress(_: float) -> None:
        if not begun.is_set():
            waiter.start()
            begun.wait()
            stop.set()
            waiter.join()

    load_first = Loaded(lib, demo, LoadOptions(threads=1), repack=True, progress=progress, stop=Stop())

    assert outcome == [LoadStopped]
    load_first.close()
