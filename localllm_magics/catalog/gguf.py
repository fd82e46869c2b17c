"""The header of a GGUF file, read without loading it.

A file is untrusted: each length in it is checked against the size of the file before it is used, and no more than
`_BUFFER_BYTES` or the longest string are in memory at once. The file is read, not memory-mapped: a mapped file that
is truncated meanwhile kills the process. The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, TypeAlias, TypeVar

from localllm_magics.catalog.file_format import detect_format
from localllm_magics.catalog.known_parts import KnownPart, KnownParts
from localllm_magics.core.errors import ModelError, ModelNotFound, NotAGGUF, TruncatedFile
from localllm_magics.core.ggml_types import GGML_TYPES
from localllm_magics.core.hints import DOWNLOAD_AGAIN, LIST_MODELS
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.engines.cache_folder import open_regular
from localllm_magics.engines.file_stamp import broken_link

T = TypeVar("T")
Scalar: TypeAlias = str | int | float | bool

_CODES = dict(enumerate("BbHhIif?")) | dict(enumerate("Qqd", 10))
_SCALARS = {number: struct.Struct(f"<{code}") for number, code in _CODES.items()}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]
_DIMS_TYPE_OFFSET = tuple(struct.Struct(f"<{dimensions}QIQ") for dimensions in range(5))
_BUFFER_BYTES = 1 << 18
_LONGEST_HEADER = 1 << 27
_LARGEST_FILE = 1 << 46
_MOST_TENSORS = 1 << 17
_MOST_KEYS = 1 << 16
_MOST_DIMENSIONS = 4
_LONGEST_ARRAY = 64
_COMPARED_BYTES = 1 << 13
_MOST_KNOWN_TENSORS = 4096
MOST_LAYERS = 512
"""Of a model; an array of numbers may have one for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInfo:
    """The type and length of an array that is too long to store.

    Args:
        type: The number of the element type in the format.
    """

    type: int
    length: int


Value: TypeAlias = Scalar | tuple[Scalar, ...] | ArrayInfo


class Tensor(NamedTuple):
    """An entry of the tensor table; a tuple, for a header has hundreds, and a frozen dataclass takes thrice the time.

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
        return _size(self.dims, self.type)


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
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotAGGUF(f"{to_printable(path.name)} is not a file.", LIST_MODELS)
        with open_regular(path) as file:
            return _read(
                _Reader(
                    file, to_printable(path.name), offset, os.fstat(file.fileno()).st_size if size is None else size
                )
            )
    except FileNotFoundError as exc:
        raise ModelNotFound(
            broken_link(path, str(path)) or f"There is no file {to_printable(str(path))}.", LIST_MODELS
        ) from exc
    except (OSError, ValueError) as exc:
        raise ModelError(
            f"{to_printable(str(path))} cannot be read: {getattr(exc, 'strerror', None) or exc}.", LIST_MODELS
        ) from exc


def require_complete(header: Header, path: Path) -> None:
    """Raise TruncatedFile if the file of HEADER ends before its last tensor."""
    have, need = header.size_bytes, header.expected_size
    if need is None or need <= have:
        return
    if need > _LARGEST_FILE:
        raise NotAGGUF(f"{to_printable(path.name)} is damaged: its tensors would need {need:,} bytes.", DOWNLOAD_AGAIN)
    raise TruncatedFile(
        f"{to_printable(path.name)} is cut off: it has {have:,} of {need:,} bytes ({have * 100 // need} %).",
        DOWNLOAD_AGAIN,
    )


VOCABULARIES: KnownParts[tuple[()]] = KnownParts(64)
TABLES: KnownParts[tuple[Tensor, ...]] = KnownParts(64)


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
        """Skip COUNT strings: those of a vocabulary are 100,000 and more."""
        self._require(count * 8)
        key = count, hash(self.peek(_COMPARED_BYTES))
        if self._skip_known(VOCABULARIES.get(key)) is None:
            start, digest = self.position, self._walk_strings(count)
            VOCABULARIES.put(key, KnownPart(size=self.position - start, digest=digest, value=()))

    def _skip_known(self, part: KnownPart[T] | None) -> T | None:
        """Skip PART if it comes next, and return what it was read as."""
        if part is None or part.size > self.size - self.position:
            return None
        self._fill(part.size)
        if self._digest(self._offset, self._offset + part.size) != part.digest:
            return None
        self._offset += part.size
        return part.value

    def _digest(self, start: int, end: int) -> bytes:
        """The SHA-256 of a part of the buffer."""
        return hashlib.sha256(memoryview(self._buffer)[start:end]).digest()

    def _walk_strings(self, count: int) -> bytes:
        """Skip COUNT strings one by one; the digest of them."""
        digest, length_at = hashlib.sha256(), _U64.unpack_from
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
            inside = min(offset, len(data))
            digest.update(memoryview(data)[self._offset : inside])
            self._offset = inside
            digest.update(self.read(offset - inside))
        return digest.digest()

    def read_tensors(self, count: int) -> tuple[Tensor, ...]:
        """The next COUNT entries of the tensor table."""
        key = count, hash(self.peek(_COMPARED_BYTES))
        known = self._skip_known(TABLES.get(key))
        if known is not None:
            return known
        start = self.position
        tensors = self._parse_tensors(count)
        if start >= self._start and count <= _MOST_KNOWN_TENSORS:
            digest = self._digest(start - self._start, self._offset)
            TABLES.put(key, KnownPart(size=self.position - start, digest=digest, value=tensors))
        return tensors

    def _parse_tensors(self, count: int) -> tuple[Tensor, ...]:
        tensors: list[Tensor] = []
        length_at, dimensions_at = _U64.unpack_from, _U32.unpack_from
        while len(tensors) < count:
            data, start = self._buffer, self._offset
            try:
                end = start + 8 + length_at(data, start)[0]
                form = _DIMS_TYPE_OFFSET[dimensions_at(data, end)[0]]
                *dims, kind, offset = form.unpack_from(data, end + 4)
            except (struct.error, OverflowError, IndexError):  # not all of it is in the buffer, or it is damaged
                tensors.append(self._read_tensor())
                continue
            name = data[start + 8 : end].decode("utf-8", "replace")
            tensors.append(Tensor(name, tuple(dims), kind, offset))
            self._offset = end + 4 + form.size
        return tuple(tensors)

    def _read_tensor(self) -> Tensor:
        name, dimensions = self.read_string(), self.read_u32()
        if dimensions > _MOST_DIMENSIONS:
            raise self.damaged(f"a tensor has {dimensions} dimensions")
        dims = tuple(self.read_u64() for _ in range(dimensions))
        return Tensor(name=name, dims=dims, type=self.read_u32(), offset=self.read_u64())

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
            self.size = min(self.size, self._start + len(self._buffer))
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
    tensors = reader.read_tensors(tensor_count)
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
        what, hint = detect_format(start)
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
    if length <= (_LONGEST_ARRAY if kind == _STRING else MOST_LAYERS):
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


@lru_cache(maxsize=4096)
def _size(dims: tuple[int, ...], kind: int) -> int | None:
    if kind not in GGML_TYPES:
        return None
    _, block, size = GGML_TYPES[kind]
    return prod(dims) // block * size


def _expected_size(tensors: tuple[Tensor, ...], data_offset: int) -> int | None:
    end = 0
    for tensor in tensors:
        size = _size(tensor.dims, tensor.type)
        if size is None:
            return None
        end = max(end, tensor.offset + size)
    return data_offset + end
