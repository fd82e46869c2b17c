from pathlib import Path
from types import SimpleNamespace

import pytest

from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.placement_search import fit_params, most_layers
from tests.engines.kernel.worker.beside_device import beside_device
from tools.sparse_model import write_sparse
from tools.sparse_shapes import SHAPES, to_model


@pytest.mark.parametrize("most", range(6))
def test_as_many_layers_as_fit_are_found(most: int) -> None:
    tried: list[int] = []

    def fits(layers: int) -> bool:
        tried.append(layers)
        return layers <= most

    assert most_layers(5, fits) == most
    assert tried[0] == 5  # the usual case first
    assert 0 not in tried


def test_a_dense_model_is_filled_up_with_whole_layers(random_model: Path) -> None:
    cells = beside_device("placed", random_model)

    assert isinstance(cells, list)
    assert [cell["layers"] for cell in cells] == sorted({cell["layers"] for cell in cells})
    assert cells[-1]["layers"] == 9
    for cell in cells:
        assert cell["overrides"] == []
        assert cell["needed"] <= cell["size"]
        assert cell["layers"] == 9 or cell["needed_by_more"] > cell["size"]
        assert cell["whole_layers"] == cell["layers"]


def test_the_experts_that_do_not_fit_stay_on_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "experts.gguf"
    write_sparse(to_model(SHAPES["mixtral-8x7b"]), path)

    found = beside_device("experts", path)

    assert isinstance(found, dict)
    placement, (placed, everything, less, least) = found["placement"], found["weights"]
    assert placement["gpu_layers"] == 33
    assert placement["overrides"][-1] == r"blk\.31\.ffn_(up|down|gate_up|gate)_(ch|)exps"
    assert least < placed < 5e9
    assert placed < less < everything
    assert least < 1e9


def test_a_build_without_that_library_places_nothing(lib: Library, tmp_path: Path) -> None:
    (tmp_path / "llama_cpp" / "lib").mkdir(parents=True)
    (tmp_path / "llama_cpp" / "lib" / "libllama-common.so.0").write_bytes(b"no library")
    other = SimpleNamespace(path=tmp_path / "llama_cpp" / "lib" / "libllama.so", api=lib.api)

    assert fit_params(other, tmp_path, PlanSettings(context=256), 0) is None  # type: ignore[arg-type] # all that is used
