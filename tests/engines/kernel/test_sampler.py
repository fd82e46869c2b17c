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


def test_a_repeat_penalty_takes_another_token_the_next_time(lib: Library, read: LoadedModel) -> None:
    tokens = draw(lib, read, Sampling(temperature=0.0, repeat_penalty=1e6), 5)

    assert len(set(tokens)) == 5
