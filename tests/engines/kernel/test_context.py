import subprocess
import sys
from collections.abc import Iterator

import pytest

from localllm_magics.core.errors import GenerationFailed
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.context import CHUNK, Context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel

PROMPT = [20 + number % 200 for number in range(2 * CHUNK + 50)]


@pytest.fixture(scope="module")
def weights(lib: Library, demo: ModelInfo) -> Iterator[LlamaModel]:
    assert demo.path is not None
    weights = LlamaModel(lib, demo.path, stop=Stop())
    yield weights
    weights.close()


@pytest.fixture
def context(lib: Library, weights: LlamaModel) -> Iterator[Context]:
    context = Context(lib, weights, size=1024, threads=1)
    yield context
    context.close()


def logits(lib: Library, context: Context) -> list[float]:
    size = lib.api.llama_vocab_n_tokens(lib.api.llama_model_get_vocab(lib.api.llama_get_model(context.pointer)))
    return list(lib.api.llama_get_logits_ith(context.pointer, -1)[:size])


def read(lib: Library, context: Context, tokens: list[int]) -> tuple[int, list[float]]:
    """How many of TOKENS came from the cache, and the logits after them."""
    cached = context.reuse(tokens)
    list(context.read(tokens))
    return cached, logits(lib, context)


def test_a_prompt_is_read_in_chunks(context: Context) -> None:
    context.reuse(PROMPT)

    assert list(context.read(PROMPT)) == [CHUNK, 2 * CHUNK, 2 * CHUNK + 50]
    assert context.past == len(PROMPT)


def test_a_small_context_reads_in_chunks_of_its_own_size(lib: Library, weights: LlamaModel) -> None:
    context = Context(lib, weights, size=64, threads=1)
    context.reuse(PROMPT)

    read = list(context.read(PROMPT[:200]))
    context.close()

    assert read == [64, 128, 192, 200]


@pytest.mark.parametrize(
    ("before", "after", "cached"),
    [
        pytest.param(PROMPT, PROMPT, 2 * CHUNK, id="the same"),
        pytest.param(PROMPT, PROMPT[: 2 * CHUNK], CHUNK, id="shorter, whole chunks"),
        pytest.param(PROMPT[: 2 * CHUNK], PROMPT, 2 * CHUNK, id="longer"),
        pytest.param(PROMPT, [*PROMPT[: CHUNK + 5], 3, *PROMPT[CHUNK + 5 :]], CHUNK, id="other in the middle"),
        pytest.param(PROMPT, [3, *PROMPT], 0, id="other from the start"),
        pytest.param(PROMPT, PROMPT[:CHUNK], 0, id="one chunk, whose last token is read again"),
        pytest.param(PROMPT[:5], PROMPT[:5], 0, id="less than a chunk"),
    ],
)
def test_what_is_reused_gives_the_same_numbers_to_the_last_bit(
    lib: Library, weights: LlamaModel, context: Context, before: list[int], after: list[int], cached: int
) -> None:
    fresh = Context(lib, weights, size=1024, threads=1)
    _, expected = read(lib, fresh, after)
    fresh.close()

    read(lib, context, before)
    context.take(7)
    context.take(8)

    assert read(lib, context, after) == (cached, expected)


def test_an_abort_is_seen_in_the_next_decode_until_resumed(lib: Library, context: Context) -> None:
    _, expected = read(lib, context, PROMPT)
    context.abort()
    context.reuse(PROMPT)

    with pytest.raises(Stopped):
        list(context.read(PROMPT))
    with pytest.raises(Stopped):
        context.take(5)

    context.resume()
    assert read(lib, context, PROMPT) == (2 * CHUNK, expected)


def test_an_abort_between_chunks_leaves_a_usable_context(lib: Library, context: Context) -> None:
    _, expected = read(lib, context, PROMPT)
    context.reuse([3])
    context.reuse(PROMPT)
    steps = context.read(PROMPT)
    next(steps)
    context.abort()

    with pytest.raises(Stopped):
        next(steps)

    context.resume()
    assert context.past == CHUNK
    assert read(lib, context, PROMPT) == (CHUNK, expected)


def test_a_token_more_than_the_context_holds_fails(lib: Library, weights: LlamaModel) -> None:
    context = Context(lib, weights, size=256, threads=1)
    read(lib, context, PROMPT[: context.size])

    with pytest.raises(GenerationFailed, match="could not decode"):
        context.take(5)

    context.close()
    context.close()


SHORT_OF_MEMORY = """
import resource

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.stop import Stop
from localllm_magics.demo import PATH
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.llama_model import LlamaModel

weights = LlamaModel(library(), PATH, stop=Stop())
with open("/proc/self/statm") as statm:
    limit = int(statm.read().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Context(library(), weights, size=2**20, threads=1)
except NotEnoughMemory as error:
    print(error.hint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory cannot be limited")
def test_a_context_that_cannot_be_allocated_is_refused() -> None:
    result = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True)

    assert result.stdout == f"Try --ctx {2**19}.\n"
