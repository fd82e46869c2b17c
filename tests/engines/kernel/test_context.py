import subprocess
import sys
from collections.abc import Iterator

import pytest

from localllm_magics.core.errors import GenerationFailed
from localllm_magics.core.ggml_types import GGML_TYPES
from localllm_magics.core.memory_plan import CHUNK, PlanSettings
from localllm_magics.core.request import KV_TYPES
from localllm_magics.core.stop import Stopped
from localllm_magics.engines.kernel.context import Context, context_params
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel

PROMPT = [20 + number % 200 for number in range(2 * CHUNK + 50)]


@pytest.fixture
def context(lib: Library, model: LlamaModel) -> Iterator[Context]:
    context = Context(lib, model, size=1024, threads=1)
    yield context
    context.close()


def logits(lib: Library, context: Context) -> list[float]:
    size = lib.api.llama_vocab_n_tokens(lib.api.llama_model_get_vocab(lib.api.llama_get_model(context.pointer)))
    return list(lib.api.llama_get_logits_ith(context.pointer, -1)[:size])


def read(lib: Library, context: Context, tokens: list[int]) -> tuple[int, list[float]]:
    """How many of TOKENS came from the cache, and the logits after them."""
    cached = context.reuse_prefix(tokens)
    list(context.prefill(tokens))
    return cached, logits(lib, context)


def test_a_prompt_is_prefilled_in_chunks(context: Context) -> None:
    context.reuse_prefix(PROMPT)

    assert list(context.prefill(PROMPT)) == [CHUNK, 2 * CHUNK, 2 * CHUNK + 50]
    assert context.n_past == len(PROMPT)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_each_type_of_kv_cache_has_its_number(lib: Library, kv_type: str) -> None:
    params = context_params(lib, PlanSettings(context=64, kv_type=kv_type), threads=1)

    assert GGML_TYPES[params.type_k][0] == GGML_TYPES[params.type_v][0] == kv_type.upper()


def test_a_small_context_prefills_in_chunks_of_its_own_size(lib: Library, model: LlamaModel) -> None:
    context = Context(lib, model, size=64, threads=1)
    context.reuse_prefix(PROMPT)

    read = list(context.prefill(PROMPT[:200]))
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
    lib: Library, model: LlamaModel, context: Context, before: list[int], after: list[int], cached: int
) -> None:
    fresh = Context(lib, model, size=1024, threads=1)
    _, expected = read(lib, fresh, after)
    fresh.close()

    read(lib, context, before)
    context.decode(7)
    context.decode(8)

    assert read(lib, context, after) == (cached, expected)


def test_an_abort_ends_the_next_decode_until_it_is_cleared(lib: Library, context: Context) -> None:
    _, expected = read(lib, context, PROMPT)
    context.abort()
    context.reuse_prefix(PROMPT)

    with pytest.raises(Stopped):
        list(context.prefill(PROMPT))
    with pytest.raises(Stopped):
        context.decode(5)

    context.clear_abort()
    assert read(lib, context, PROMPT) == (2 * CHUNK, expected)


def test_an_abort_between_chunks_leaves_a_usable_context(lib: Library, context: Context) -> None:
    _, expected = read(lib, context, PROMPT)
    context.reuse_prefix([3])
    context.reuse_prefix(PROMPT)
    steps = context.prefill(PROMPT)
    next(steps)
    context.abort()

    with pytest.raises(Stopped):
        next(steps)

    context.clear_abort()
    assert context.n_past == CHUNK
    assert read(lib, context, PROMPT) == (CHUNK, expected)


def test_a_token_more_than_the_context_holds_fails(lib: Library, model: LlamaModel) -> None:
    context = Context(lib, model, size=256, threads=1)
    read(lib, context, PROMPT[: context.size])

    with pytest.raises(GenerationFailed, match="could not decode"):
        context.decode(5)

    context.close()
    context.close()


def test_the_cache_of_a_sliding_window_has_no_room_beyond_it(lib: Library) -> None:
    assert not context_params(lib, PlanSettings(context=512), threads=1).swa_full


SHORT_OF_MEMORY = """
import resource

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.demo import PATH
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.llama_model import LlamaModel

model = LlamaModel(library(), PATH, PlanSettings(context=512), stop=Stop())
with open("/proc/self/statm") as statm:
    limit = int(statm.read().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    Context(library(), model, size=2**20, threads=1)
except NotEnoughMemory as error:
    print(error.hint)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory cannot be limited")
def test_a_context_that_cannot_be_allocated_is_refused() -> None:
    result = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True)

    assert result.stdout == f"Try --ctx {2**19}.\n"
