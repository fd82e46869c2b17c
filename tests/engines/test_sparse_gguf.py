from pathlib import Path

import pytest

from localllm_magics.catalog.gguf import read_header, require_complete
from localllm_magics.engines.sparse_gguf import SparseModel, SparseTensor, Value, write_sparse


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param(True, True, id="flag"),
        pytest.param(7, 7, id="number"),
        pytest.param(0.5, 0.5, id="fraction"),
        pytest.param("text", "text", id="text"),
        pytest.param([1, 2], (1, 2), id="numbers"),
        pytest.param([True, False], (True, False), id="flags"),
        pytest.param([], (), id="nothing"),
    ],
)
def test_a_value_is_read_as_it_was_written(tmp_path: Path, value: Value, read: object) -> None:
    tensors = [SparseTensor(name="a.weight", dims=(64, 2), type="Q4_0"), SparseTensor(name="b.weight", dims=(3,))]
    path = tmp_path / "sparse.gguf"

    size = write_sparse(SparseModel(metadata={"general.architecture": "x", "x.y": value}, tensors=tensors), path)

    header = read_header(path)
    require_complete(header, path)
    assert header.metadata["x.y"] == read
    assert [(tensor.name, tensor.dims, tensor.type) for tensor in header.tensors] == [
        ("a.weight", (64, 2), 2),
        ("b.weight", (3,), 0),
    ]
    assert path.stat().st_size == size
