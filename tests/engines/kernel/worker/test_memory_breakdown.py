from pathlib import Path

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import new_context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.worker.log_breakdown import log_breakdown
from localllm_magics.engines.kernel.worker.memory_breakdown import memory_breakdown
from localllm_magics.engines.sparse_gguf import write_sparse
from tests.engines.kernel.random_model import write_random_model
from tests.engines.kernel.worker.beside_device import beside_device
from tools.bench.random_model import TINY
from tools.bench.random_model import random_model as tied_model
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES


def test_a_library_that_does_not_count_is_no_error(lib: Library, random_model: Path) -> None:
    model = LlamaModel(lib, random_model, PlanSettings(context=256), stop=Stop())
    context, _ = new_context(lib, model, PlanSettings(context=256), threads=1)

    assert memory_breakdown(lib, context, "no_such_function") is None
    lib.api.llama_free(context)
    model.close()


@pytest.mark.parametrize("shape", ["llama-1b", "mixtral-8x7b", "gemma3-4b", "mamba-2.8b"])
def test_the_log_says_the_same_on_each_device(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "sparse.gguf"
    write_sparse(to_model(SHAPES[shape]), path)

    cells = beside_device("breakdowns", path)

    assert isinstance(cells, list)
    for counted, logged in cells:
        for device, sizes in logged.items():
            assert sizes == pytest.approx(counted[device], rel=0.005, abs=20_000)


def test_repacked_and_tied_weights_are_in_the_log_too(lib: Library, tmp_path: Path) -> None:
    settings = PlanSettings(context=1024)
    path = tied_model(TINY, tmp_path)
    model = LlamaModel(lib, path, settings, stop=Stop(), allocate=False)
    context, log = new_context(lib, model, settings, threads=1)

    counted = memory_breakdown(lib, context) or []
    logged = log_breakdown(lib, path, settings, model.log, log)

    weights = [sum(each.weights for each in buffers) for buffers in (counted, logged)]
    # Which types are repacked differs between CPUs: the embedding may be there once or twice.
    assert weights[0] in (pytest.approx(weights[1], rel=0.01), pytest.approx(model.size_bytes, rel=0.01))
    lib.api.llama_free(context)
    model.close()


def test_the_parts_of_a_split_model_are_read(lib: Library, tmp_path: Path) -> None:
    settings, folder = PlanSettings(context=256), tmp_path
    first = write_random_model(folder / "x-00001-of-00002.gguf")
    write_random_model(folder / "x-00002-of-00002.gguf")
    whole = write_random_model(folder / "x.gguf")
    log = "".join(f"load_tensors: layer {layer} assigned to device CPU, is_swa = 0\n" for layer in range(9))

    one, both = (log_breakdown(lib, path, settings, log, "") for path in (whole, first))

    assert sum(each.weights for each in both) == 2 * sum(each.weights for each in one)
