import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from localllm_magics import demo
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.placement_search import fit_params, most_layers
from localllm_magics.engines.sparse_gguf import write_sparse
from tests.engines.kernel.worker.beside_device import beside_device
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES


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


def test_a_file_that_is_refused_has_no_placement(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(demo.PATH.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight", 1))

    found = beside_device("unplaced", path)

    assert found == ["load_failed", "llama.cpp refused broken.gguf: tensor 'blk.1.ffn_up.weight' not found."]


IMPOSSIBLE = """
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.demo import PATH
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.worker.placement_search import fit_params

print(fit_params(library(), PATH, PlanSettings(context=256), margin=1 << 60))
"""


def test_where_llama_cpp_finds_no_placement_there_is_none(lib: Library) -> None:
    if lib.supports_gpu:
        pytest.skip("there is a GPU")

    # In a process of its own, as the library begins a thread that writes to the standard error.
    result = subprocess.run([sys.executable, "-c", IMPOSSIBLE], capture_output=True, text=True, check=True)

    assert result.stdout == "None\n"


def test_a_build_without_that_library_places_nothing(lib: Library, tmp_path: Path) -> None:
    (tmp_path / "llama_cpp" / "lib").mkdir(parents=True)
    (tmp_path / "llama_cpp" / "lib" / "libllama-common.so.0").write_bytes(b"no library")
    other = SimpleNamespace(path=tmp_path / "llama_cpp" / "lib" / "libllama.so", api=lib.api)

    assert fit_params(other, tmp_path, PlanSettings(context=256), 0) is None  # type: ignore[arg-type] # all that is used
