import threading
from collections.abc import Iterator

import psutil
import pytest

from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel

PROMPT = [20, 21, 22]


@pytest.fixture(autouse=True)
def _own_threads(lib: Library) -> None:
    if "OPENMP = 1" in lib.system_info:
        pytest.skip("the threads are OpenMP's")


@pytest.fixture
def context(lib: Library, model: LlamaModel) -> Iterator[Context]:
    context = Context(lib, model, size=256, threads=3)
    yield context
    context.close()


def running() -> set[int]:
    return {thread.id for thread in psutil.Process().threads()}


def read(context: Context) -> None:
    context.reuse_prefix(PROMPT)
    list(context.prefill(PROMPT))


def test_the_same_threads_compute_every_decode(context: Context) -> None:
    before = running()
    read(context)
    threads = running() - before

    context.decode(23)
    read(context)

    assert len(threads) == 2  # the third is the one that calls
    assert running() - before == threads


def test_a_context_that_was_not_used_has_no_threads(lib: Library, model: LlamaModel) -> None:
    before = running()

    context = Context(lib, model, size=256, threads=3)

    assert running() == before
    context.close()


def test_the_threads_end_with_the_context(lib: Library, model: LlamaModel) -> None:
    before = running()
    context = Context(lib, model, size=256, threads=3)
    read(context)

    context.close()
    context.close()

    assert running() == before


def test_where_no_more_threads_are_allowed_it_says_so(
    lib: Library, model: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    context = Context(lib, model, size=256, threads=3)
    with monkeypatch.context() as limits:
        limits.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            read(context)

    read(context)

    assert context.n_past == len(PROMPT)
    context.close()


def test_a_forked_process_makes_threads_of_its_own(context: Context) -> None:
    read(context)
    before = running()

    context._pool.after_fork()  # noqa: SLF001 - tests/engines/kernel/test_fork.py really forks
    read(context)

    assert len(running() - before) == 2
