"""What a context takes of each device, from llama.cpp's own count; for a worker, as it reads C++ values.

`llama_get_memory_breakdown` is exported by libllama and has no C interface. It knows every buffer, also where nothing
is allocated: repacked weights too, which llama.cpp's own planner leaves out.
"""

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from localllm_magics.engines.kernel.library import Library

_NAME = "_Z26llama_get_memory_breakdownPK13llama_context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """All buffers of one type, in bytes; see `DeviceUse`.

    Args:
        device: The device in whose memory they are; empty for the host.
        is_plain: Whether the weights are as in the file, and not repacked.
    """

    device: str
    weights: int = 0
    kv_cache: int = 0
    compute: int = 0
    is_plain: bool = True


class _Map(ctypes.Structure):
    """`std::map` of libstdc++: the order of its keys, a node without a value, and how many others there are."""

    _fields_ = (
        ("order", ctypes.c_size_t),
        ("color", ctypes.c_size_t),
        ("root", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("last", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    )


class _Node(ctypes.Structure):
    """A node of it, whose key is a buffer type."""

    _fields_ = (
        ("color", ctypes.c_size_t),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("buffer_type", ctypes.c_void_p),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    )


def memory_breakdown(lib: Library, context: int, name: str = _NAME) -> list[Buffers] | None:
    """The buffers of a context, by type; None where the library does not tell.

    Args:
        lib: The build.
        context: llama.cpp's own.
        name: The function.
    """
    try:
        count = lib.function(name, _Map, ctypes.c_void_p)
    except AttributeError:
        return None
    if sys.platform != "linux":  # pragma: no cover - another C++ library, whose map is another
        return None
    return [_buffers(lib, node) for node in _nodes(count(context).root)]


def _nodes(pointer: int | None) -> Iterator[_Node]:
    if pointer:
        node = _Node.from_address(pointer)
        yield from _nodes(node.left)
        yield node
        yield from _nodes(node.right)


def _buffers(lib: Library, node: _Node) -> Buffers:
    is_host = lib.function("ggml_backend_buft_is_host", ctypes.c_bool, ctypes.c_void_p)(node.buffer_type)
    device = lib.buffer_device(node.buffer_type)
    return Buffers(
        device=device,
        weights=node.model,
        kv_cache=node.context,
        compute=node.compute,
        is_plain=bool(is_host or device),
    )
