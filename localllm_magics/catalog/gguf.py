"""The header of a GGUF file, read without loading it.

A file is untrusted: each length in it is checked against the size of the file before it is used, and no more than
`_BUFFER_BYTES` or the longest string are in memory at once. The file is read, not memory-mapped: a mapped file that
is truncated meanwhile kills the process. The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, TypeAlias

from localllm_magics.core.errors import ModelError, ModelNotFound, NotAGGUF, TruncatedFile
from localllm_magics.core.hints import DOWNLOAD_AGAIN, LIST_MODELS
from localllm_magics.engines.file_stamp import broken_link

Scalar: TypeAlias = str | int | float | bool

# fmt: off
GGML_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}
# fmt: on
"""By number: name, elements and bytes of a block, as in `ggml_blck_size` and `ggml_type_size`."""

_CODES = dict(enumerate("BbHhIif?")) | dict(enumerate("Qqd", 10))
_SCALARS = {number: struct.Struct(f"<{code}") for number, code in _CODES.items()}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]
_BUFFER_BYTES = 1 << 18
_LONGEST_HEADER = 1 << 27
_LARGEST_FILE = 1 << 46
_MOST_TENSORS = 1 << 17
_MOST_KEYS = 1 << 16
_MOST_DIMENSIONS = 4
_LONGEST_ARRAY = 64
_MOST_LAYERS = 512  # an array of numbers may have one for each


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """The type and length of an array that is too long to store.

    Args:
        type: The number of the element type in the format.
    """

    type: int
    length: int


Value: TypeAlias = Scalar | tuple[Scalar, ...] | ArrayInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An entry of the tensor table.

    Args:
        type: The number of the ggml type.
        offset: Where its bytes begin, counted from the data offset.
    """

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """How many weights it holds."""
        return prod(self.dims)

    @property
    def size_bytes(self) -> int | None:
        """Its size, None where the type is not known."""
        if self.type not in GGML_TYPES:
            return None
        _, block, size = GGML_TYPES[self.type]
        return self.elements // block * size


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a GGUF file.

    Args:
        data_offset: Where the tensors' bytes begin.
        size_bytes: The size of the file.
        expected_size: The size that its tensors need, None where a tensor's type is not known.
    """

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int
    size_bytes: int
    expected_size: int | None


def read_header(path: Path, *, offset: int = 0, size: int | None = None) -> Header:
    """Read the header; `require_complete` checks that no bytes of the tensors are missing.

    Args:
        path: A GGUF file, or one that has a model in it.
        offset: Where the model begins in the file, in bytes.
        size: How many bytes of the file are the model's, None for all.

    Raises:
        ModelNotFound: There is no such file.
        NotAGGUF: It is another format, or damaged.
        TruncatedFile: It ends inside the header.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotAGGUF(f"{path.name} is not a file.", LIST_MODELS)
        with path.open("rb") as file:
            return _read(_Reader(file, path.name, offset, status.st_size if size is None else size))
    except FileNotFoundError as exc:
        raise ModelNotFound(broken_link(path, str(path)) or f"There is no file {path}.", LIST_MODELS) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}.", LIST_MODELS) from exc


def require_complete(header: Header, path: Path) -> None:
    """Raise TruncatedFile if the file of HEADER ends before its last tensor."""
    have, need = header.size_bytes, header.expected_size
    if need is None or need <= have:
        return
    if need > _LARGEST_FILE:
        raise NotAGGUF(f"{path.name} is damaged: its tensors would need {need:,} bytes.", DOWNLOAD_AGAIN)
    raise TruncatedFile(
        f"{path.name} is cut off: it has {have:,} of {need:,} bytes ({have * 100 // need} %).", DOWNLOAD_AGAIN
    )


class _Reader:
    """A buffered reader that goes forward through a file, or a part of one, and checks each length."""

    def __init__(self, file: BinaryIO, name: str, first: int, size: int) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._first = first  # where position 0 is in the file
        self._start = 0  # the position of the start of the buffer
        self._buffer = b""
        self._offset = 0  # of the next byte in the buffer

    @property
    def position(self) -> int:
        return self._start + self._offset

    def peek(self, count: int) -> bytes:
        self._fill(min(count, self.size - self.position))
        return self._buffer[self._offset : self._offset + count]

    def read(self, count: int) -> bytes:
        self._fill(count)
        self._offset += count
        return self._buffer[self._offset - count : self._offset]

    def read_u32(self) -> int:
        return int(_U32.unpack(self.read(4))[0])

    def read_u64(self) -> int:
        return int(_U64.unpack(self.read(8))[0])

    def read_string(self) -> str:
        return self.read(self.read_u64()).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        self._require(count)
        self._offset += count

    def skip_strings(self, count: int) -> None:
        """Skip COUNT strings; vocabularies have 100,000 and more, so this loop is the cost of a header."""
        self._require(count * 8)
        length_at = _U64.unpack_from
        while count:
            self._fill(8)
            data, offset = self._buffer, self._offset
            try:
                for left in range(count - 1, -1, -1):  # noqa: B007 - it counts what is beyond the buffer
                    offset += 8 + length_at(data, offset)[0]
            except (struct.error, OverflowError):  # the next length is not in the buffer
                count = left + 1
            else:
                count = 0
            self.skip(offset - self._offset)

    def damaged(self, what: str) -> NotAGGUF:
        return NotAGGUF(f"{self.name} is damaged: {what} (near byte {self.position:,}).", DOWNLOAD_AGAIN)

    def _require(self, count: int) -> None:
        """Raise unless the file can have COUNT more bytes of header."""
        need = self.position + count
        if need > _LONGEST_HEADER:
            raise self.damaged("a length in its header cannot be right")
        if need > self.size:
            raise TruncatedFile(
                f"{self.name} is cut off inside its header: it has {self.size:,} bytes and needs more than {need:,}.",
                DOWNLOAD_AGAIN,
            )

    def _fill(self, count: int) -> None:
        """Read the next COUNT bytes into the buffer."""
        self._require(count)
        if self._offset + count <= len(self._buffer):
            return
        self._start, self._offset = self.position, 0
        self._file.seek(self._first + self._start)
        wanted = max(count, _BUFFER_BYTES)
        self._buffer = self._file.read(wanted)
        if len(self._buffer) < wanted:  # the file may have been truncated meanwhile
            self.size = self._start + len(self._buffer)
        self._require(count)


def _read(reader: _Reader) -> Header:
    version = _read_version(reader)
    tensor_count, key_count = reader.read_u64(), reader.read_u64()
    if tensor_count > _MOST_TENSORS or key_count > _MOST_KEYS:
        raise reader.damaged(f"{tensor_count:,} tensors and {key_count:,} keys cannot be right")
    metadata: dict[str, Value] = {}
    alignment = 32
    for _ in range(key_count):
        key, kind = reader.read_string(), reader.read_u32()
        metadata[key] = _read_value(reader, kind)
        if key == "general.alignment":
            alignment = _check_alignment(reader, kind, metadata[key])
    tensors = tuple(_read_tensor(reader) for _ in range(tensor_count))
    end = reader.position
    data_offset = -(-end // alignment) * alignment
    return Header(
        version=version,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        data_offset=data_offset,
        size_bytes=reader.size,
        expected_size=_expected_size(tensors, data_offset) if tensors else end,
    )


def _read_version(reader: _Reader) -> int:
    start = reader.peek(512)
    if not start or not b"GGUF".startswith(start[:4]):
        what, hint = _detect_format(start)
        raise NotAGGUF(f"{reader.name} is not a GGUF file: it is {what}.", hint)
    reader.skip(4)
    version = reader.read_u32()
    if version & 0xFFFF == 0:
        raise NotAGGUF(f"{reader.name} is a big-endian GGUF file, for other machines than this one.", LIST_MODELS)
    if version not in (2, 3):
        raise NotAGGUF(f"{reader.name} is a GGUF file of version {version}; versions 2 and 3 can be read.", LIST_MODELS)
    return version


def _read_value(reader: _Reader, kind: int) -> Value:
    if kind != _ARRAY:
        return _read_scalar(reader, kind)
    kind, length = reader.read_u32(), reader.read_u64()
    if kind != _STRING and kind not in _SCALARS:
        raise reader.damaged(f"an array has elements of type {kind}")
    if length <= (_LONGEST_ARRAY if kind == _STRING else _MOST_LAYERS):
        return tuple(_read_scalar(reader, kind) for _ in range(length))
    if kind == _STRING:
        reader.skip_strings(length)
    else:
        reader.skip(length * _SCALARS[kind].size)
    return ArrayInfo(type=kind, length=length)


def _read_scalar(reader: _Reader, kind: int) -> Scalar:
    if kind == _STRING:
        return reader.read_string()
    if kind not in _SCALARS:
        raise reader.damaged(f"a value has the type {kind}")
    form = _SCALARS[kind]
    value: Scalar = form.unpack(reader.read(form.size))[0]
    return value


def _check_alignment(reader: _Reader, kind: int, value: Value) -> int:
    # llama.cpp aborts the process where it has another type.
    if kind != _UINT32 or not isinstance(value, int) or value.bit_count() != 1:
        raise reader.damaged("its alignment is no power of two")
    return value


def _read_tensor(reader: _Reader) -> Tensor:
    name, dimensions = reader.read_string(), reader.read_u32()
    if dimensions > _MOST_DIMENSIONS:
        raise reader.damaged(f"a tensor has {dimensions} dimensions")
    dims = tuple(reader.read_u64() for _ in range(dimensions))
    return Tensor(name=name, dims=dims, type=reader.read_u32(), offset=reader.read_u64())


def _expected_size(tensors: tuple[Tensor, ...], data_offset: int) -> int | None:
    end = data_offset
    for tensor in tensors:
        if tensor.size_bytes is None:
            return None
        end = max(end, data_offset + tensor.offset + tensor.size_bytes)
    return end


_CONVERT = "llama.cpp's `convert_hf_to_gguf.py` makes a GGUF file of the original model."
_WEB_PAGE = "Download the model itself: on Hugging Face the link has `/resolve/`, not `/blob/`."
_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, the model itself was not downloaded",
        "Type in a terminal: `git lfs pull`",
    ),
    (b"<!doctype html", "an HTML page", _WEB_PAGE),
    (b"<html", "an HTML page", _WEB_PAGE),
    (b"pk\x03\x04", "a zip archive, perhaps a PyTorch checkpoint", _CONVERT),
    (b"\x80\x02", "a Python pickle, perhaps a PyTorch checkpoint", _CONVERT),
    (b"lmgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"fmgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"tjgg", "of the GGML format that came before GGUF", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "Unpack it: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it: unzstd FILE"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it: 7z x FILE"),
    (b"\x7felf", "a program", LIST_MODELS),
    (b"mzqfpd", "a llamafile", "Give it a name that ends in .llamafile"),
    (b"mz", "a program", LIST_MODELS),
    (b"{", "a JSON file", LIST_MODELS),
)


def _detect_format(start: bytes) -> tuple[str, str]:
    """What the file seems to be, and a hint."""
    if not start:
        return "empty", DOWNLOAD_AGAIN
    if start[4:9] == b"\0\0\0\0{":
        return "a safetensors file", _CONVERT
    if not start.strip(b"\0"):
        return "nothing but zeros at its beginning", DOWNLOAD_AGAIN
    text = start.lstrip().lower()
    for magic, what, hint in _FORMATS:
        if text.startswith(magic):
            return what, hint
    words = "".join(start.decode("utf-8", "ignore").split())
    if words and words.isprintable():
        return "a text file", LIST_MODELS
    return f"of an unknown kind, it begins with {start[:4].hex(' ')}", LIST_MODELS
