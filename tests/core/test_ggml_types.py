import ctypes

import pytest

from localllm_magics.core.ggml_types import GGML_TYPES, TENSOR_TYPES, TensorType
from localllm_magics.engines.kernel.library import library


@pytest.mark.parametrize("number", sorted(GGML_TYPES))
def test_the_types_are_those_of_llama_cpp(number: int) -> None:
    lib = library()
    name = lib.function("ggml_type_name", ctypes.c_char_p, ctypes.c_int)(number)
    block = lib.function("ggml_blck_size", ctypes.c_int64, ctypes.c_int)(number)
    size = lib.function("ggml_type_size", ctypes.c_size_t, ctypes.c_int)(number)

    assert (name.decode().upper(), block, size) == GGML_TYPES[number]


def test_a_size_counts_blocks() -> None:
    assert TENSOR_TYPES["Q4_0"] == TensorType(id=2, block=32, block_bytes=18)
    assert TENSOR_TYPES["Q4_0"].size(64) == 36
