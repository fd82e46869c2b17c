"""The answers that notebooks rely on; `tools.train_demo_model.check golden` writes the file of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest

from localllm_magics.catalog.discover import bundled_model
from localllm_magics.core.messages import MessageDict
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.model import Model


class Golden(TypedDict):
    messages: list[MessageDict]
    max_tokens: int
    answer: str
    completion_tokens: int
    lowest_margin: float


ANSWERS: list[Golden] = json.loads((Path(__file__).parent / "data" / "demo_answers.json").read_text("utf-8"))["answers"]
# Two threads that compete with other programs for a core take seconds for a token, so short ones must do.
SHORTEST = sorted(ANSWERS, key=lambda golden: golden["completion_tokens"])[:3]


def model_with(threads: int) -> Iterator[Model]:
    info = bundled_model()
    with Model(KernelEngine(info, LoadOptions(threads=threads)), info) as model:
        yield model


@pytest.fixture(scope="module")
def one_thread() -> Iterator[Model]:
    yield from model_with(1)


@pytest.fixture(scope="module")
def two_threads() -> Iterator[Model]:
    yield from model_with(2)


def name(golden: Golden) -> str:
    return str(golden["messages"][-1]["content"])[:60]


def check(model: Model, golden: Golden) -> None:
    completion = model.complete(golden["messages"], temperature=0, max_tokens=golden["max_tokens"])

    assert completion.text == golden["answer"]
    assert completion.stats.completion_tokens == golden["completion_tokens"]


@pytest.mark.parametrize("golden", ANSWERS, ids=name)
def test_the_answer_is_the_golden_one(one_thread: Model, golden: Golden) -> None:
    check(one_thread, golden)


@pytest.mark.parametrize("golden", SHORTEST, ids=name)
def test_two_threads_give_the_golden_answer(two_threads: Model, golden: Golden) -> None:
    check(two_threads, golden)


def test_the_margins_are_wide() -> None:
    assert min(golden["lowest_margin"] for golden in ANSWERS) >= 0.5


def test_the_file_is_small_and_says_what_it_is() -> None:
    info = bundled_model()

    assert info.size_bytes is not None
    assert info.size_bytes <= 6 * 2**20
    assert (info.architecture, info.kind, info.has_chat_template, info.problem) == ("llama", "chat", True, None)
