import math
from dataclasses import replace

import pytest

from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING, Sampling
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.sampler import Sampler
from tests.engines.kernel.asking import SHORT


@pytest.fixture
def read(loaded: LoadedModel) -> LoadedModel:
    """A model that has read a prompt."""
    tokens = loaded.tokenizer.tokenize(SHORT, add_special=True, parse_special=False)
    loaded.context.clear_abort()
    loaded.context.reuse_prefix(tokens)
    list(loaded.context.prefill(tokens))
    return loaded


def draw(lib: Library, read: LoadedModel, sampling: Sampling, count: int = 20) -> list[int]:
    """COUNT tokens for one place, drawn by one sampler."""
    with Sampler(lib, sampling.or_else(LLAMA_CPP_SAMPLING).seeded(), read.tokenizer.size) as sampler:
        return [sampler.sample(read.context.pointer) for _ in range(count)]


def test_at_temperature_0_the_best_token_is_taken(lib: Library, read: LoadedModel) -> None:
    logits = lib.api.llama_get_logits_ith(read.context.pointer, -1)
    best = max(range(read.tokenizer.size), key=lambda token: logits[token])

    assert draw(lib, read, Sampling(temperature=0.0, seed=1)) == [best] * 20


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param(Sampling(temperature=5.0, top_k=1), id="top-k"),
        pytest.param(Sampling(temperature=5.0, top_p=0.0), id="top-p"),
        pytest.param(Sampling(temperature=5.0, min_p=1.0), id="min-p"),
        pytest.param(Sampling(temperature=1e-4), id="temperature"),
    ],
)
def test_each_option_can_leave_only_the_best_token(lib: Library, read: LoadedModel, sampling: Sampling) -> None:
    assert draw(lib, read, sampling) == draw(lib, read, Sampling(temperature=0.0))


def test_the_same_seed_draws_the_same_tokens(lib: Library, read: LoadedModel) -> None:
    hot = Sampling(temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)

    assert draw(lib, read, hot) == draw(lib, read, hot)
    assert len(set(draw(lib, read, hot))) > 1


def test_top_p_is_a_share_of_what_top_k_leaves(lib: Library, read: LoadedModel) -> None:
    logits = sorted(lib.api.llama_get_logits_ith(read.context.pointer, -1)[: read.tokenizer.size], reverse=True)
    weights = [math.exp(logit - logits[0]) for logit in logits]
    of_all, of_two = weights[0] / sum(weights), weights[0] / sum(weights[:2])
    assert of_all < of_two
    hot = Sampling(temperature=1e6, top_k=2, min_p=0.0, seed=1)

    # The best token is enough of two, but would not be enough of all.
    assert len(set(draw(lib, read, replace(hot, top_p=(of_all + of_two) / 2)))) == 1
    assert len(set(draw(lib, read, replace(hot, top_p=1.0)))) == 2


def test_a_repeat_penalty_forgets_what_was_drawn_64_tokens_ago(lib: Library, read: LoadedModel) -> None:
    logits = list(lib.api.llama_get_logits_ith(read.context.pointer, -1)[: read.tokenizer.size])

    def expected(window: int) -> list[int]:
        """Greedy tokens, where those of the last WINDOW are out of the question."""
        drawn: list[int] = []
        while len(drawn) < 70:
            drawn.append(max(set(range(len(logits))) - set(drawn[-window:]), key=lambda token: logits[token]))
        return drawn

    assert min(sorted(logits)[-66:]) > 0.01
    assert expected(63) != expected(64) != expected(65)
    assert draw(lib, read, Sampling(temperature=0.0, repeat_penalty=1e6), 70) == expected(64)


def test_a_repeat_penalty_takes_another_token_the_next_time(lib: Library, read: LoadedModel) -> None:
    tokens = draw(lib, read, Sampling(temperature=0.0, repeat_penalty=1e6), 5)

    assert len(set(tokens)) == 5
