"""The weights in a llamafile, loaded into this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.engine import KernelEngine
from localllm_magics.engines.kernel.weights_cache import cache_contents
from tests.engines.kernel.asking import GREEDY, SHORT, Answers, answer, ask
from tests.server.llamafile_stand_in import make_llamafile


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelEngine]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = make_llamafile(tmp_path / "x.llamafile", demo.PATH, None, Path("llama-server"))
    engine = KernelEngine(describe_file(path, reference="x.llamafile", source="folder"), LoadOptions(threads=1))
    yield engine
    engine.close()


def test_it_answers_as_the_weights_alone(engine: KernelEngine, fresh: Answers) -> None:
    completion = answer(engine, ask(SHORT))

    assert completion.text == fresh[SHORT, GREEDY]
    assert completion.model.reference == "x.llamafile"


def test_the_copy_is_the_first_half_of_the_load(engine: KernelEngine) -> None:
    first, second = [0.0], [0.0]

    engine._open(first, Stop())  # noqa: SLF001 - who loads sees only some of the steps
    engine._open(second, Stop())  # noqa: SLF001 - now the copy is there

    assert first == sorted(first)
    assert {0.25, 0.5} <= set(first)  # copied, verified
    assert (first[-1], second[-1]) == (1.0, 1.0)
    assert not {0.25, 0.5} & set(second)


def test_a_stop_ends_the_copy(engine: KernelEngine) -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        engine._open([0.0], stop)  # noqa: SLF001 - a load that is stopped before does not begin

    assert cache_contents() == []


def test_a_refusal_of_llama_cpp_names_the_llamafile(engine: KernelEngine, tmp_path: Path) -> None:
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(demo.PATH.read_bytes().replace(b"blk.0.ffn_up.weight", b"blk.0.ffn_xx.weight", 1))
    make_llamafile(tmp_path / "x.llamafile", changed, None, Path("llama-server"))

    error = answer(engine, ask(SHORT)).error

    assert error is not None
    assert error.message.startswith("llama.cpp refused x.llamafile: ")
    assert error.hint.endswith(f"%llm load llamafile:{tmp_path / 'x.llamafile'}")


def test_damaged_weights_are_told(engine: KernelEngine, tmp_path: Path) -> None:
    path = tmp_path / "x.llamafile"
    path.write_bytes(path.read_bytes().replace(demo.PATH.read_bytes()[-64:], bytes(64)))

    error = answer(engine, ask(SHORT)).error

    assert error is not None
    assert error.message.startswith("The weights in x.llamafile are damaged: their checksum is ")
