"""The types of tensors that a build knows."""

import ctypes
from dataclasses import dataclass

from localllm_magics.engines.kernel.library import Library


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorType:
    """A type of tensors: its number, elements and bytes of a block."""

    id: int
    block: int
    block_bytes: int

    def size(self, elements: int) -> int:
        """Bytes of ELEMENTS."""
        return elements // self.block * self.block_bytes


def tensor_type(lib: Library, name: str) -> TensorType | None:
    """The type called NAME, such as `Q4_0`; None where LIB has none."""
    to_name = lib.function("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
    for number in range(lib.api.GGML_TYPE_COUNT):
        if (to_name(number) or b"").decode().upper() == name:
            block = lib.function("ggml_blck_size", ctypes.c_int64, ctypes.c_int)(number)
            size = lib.function("ggml_type_size", ctypes.c_size_t, ctypes.c_int)(number)
            return TensorType(id=number, block=block, block_bytes=size)
    return None
