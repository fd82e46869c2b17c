import pytest

from localllm_magics.catalog.gguf import GGML_TYPES
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.tensor_type import TensorType, tensor_type


@pytest.mark.parametrize("number", [0, 1, 2, 8, 12, 14, 23, 30])
def test_a_type_is_the_one_that_files_have(lib: Library, number: int) -> None:
    name, block, size = GGML_TYPES[number]

    assert tensor_type(lib, name) == TensorType(id=number, block=block, block_bytes=size)


def test_a_type_that_the_build_does_not_know_is_none(lib: Library) -> None:
    assert tensor_type(lib, "Q99_Z") is None


def test_a_size_counts_blocks() -> None:
    assert TensorType(id=2, block=32, block_bytes=18).size(64) == 36
