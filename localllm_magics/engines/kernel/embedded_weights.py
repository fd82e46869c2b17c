"""The weights inside a llamafile, which is an executable and a zip archive at the same time.

The archive is untrusted: its directory is read up to `_MAX_DIRECTORY_BYTES`, its entries are checked against the file,
and no name in it is used as a path.
"""

import os
import re
import shlex
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, ModelError, ModelNotFound, NotAGGUF, TruncatedFile
from localllm_magics.core.hints import DOWNLOAD_AGAIN, LIST_MODELS
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.table import to_size
from localllm_magics.engines.file_stamp import broken_link

GGUF_MAGIC = b"GGUF"
_EXECUTABLE_MAGICS = (b"MZqFpD", b"jartsr")
_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, zlib.error, EOFError, OverflowError, RuntimeError, ValueError)
_LOCAL_HEADER = 30
_MAX_DIRECTORY_BYTES = 1 << 22
_MAX_END_BYTES = 1 << 17  # the end of an archive, with a comment of up to 64 KiB
_MAX_ARGS_BYTES = 1 << 16
_MAX_NAME_LENGTH = 100
_LATER_PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf$", re.IGNORECASE)
_UNZIP = "Extract the weights and load those: unzip FILE.llamafile"
_LOAD_GGUF = "Load the GGUF file itself, or start it yourself with one: llamafile --server -m MODEL.gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedWeights:
    """Where the weights are in a llamafile.

    Args:
        name: The member's name in the archive; untrusted.
        offset: Where their first byte is in the file.
        crc: The checksum in the archive's directory.
    """

    name: str
    offset: int
    size: int
    crc: int


def find_weights(path: Path) -> EmbeddedWeights:
    """Find the weights that a llamafile loads: those that its `.args` name, else the largest.

    Raises:
        ModelNotFound: There is no such file.
        NotAGGUF: It is another format, contains no weights, or is damaged.
        TruncatedFile: It is not complete.
        LoadFailed: The weights are compressed or split.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotAGGUF(f"{to_printable(path.name)} is not a file.", LIST_MODELS)
        with _LimitedFile(path) as file, zipfile.ZipFile(file) as archive:
            return _locate(_select_member(archive, path), file, path)
    except FileNotFoundError as exc:
        raise ModelNotFound(
            broken_link(path, str(path)) or f"There is no file {to_printable(str(path))}.", LIST_MODELS
        ) from exc
    except OSError as exc:
        raise ModelError(f"{to_printable(str(path))} cannot be read: {exc.strerror or exc}.", LIST_MODELS) from exc
    except _ZIP_ERRORS as exc:
        raise _archive_error(path) from exc


class _LimitedFile(FileIO):
    """A file that limits each read: zipfile reads as many bytes as an untrusted archive says."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = _MAX_END_BYTES
        if size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("the directory is too long")
        return super().read(size) or b""


def _select_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The member that the llamafile loads."""
    found = [member for member in archive.infolist() if member.filename.lower().endswith(".gguf")]
    named = _model_in_args(archive) if len(found) > 1 else None
    models = [member for member in found if not member.filename.rpartition("/")[2].lower().startswith("mmproj")]
    candidates = [member for member in found if member.filename == named] or models
    if not candidates:
        raise NotAGGUF(f"{to_printable(path.name)} contains no weights: it is the llamafile program alone.", _LOAD_GGUF)
    return max(candidates, key=lambda member: member.file_size)


def _model_in_args(archive: zipfile.ZipFile) -> str | None:
    """The member that the last `-m` of `.args` names; the file has arguments as in a shell, one or more in a line."""
    member = archive.NameToInfo.get(".args")
    if member is None or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return None
    with archive.open(member) as file:
        text = file.read(_MAX_ARGS_BYTES).decode("utf-8", "replace")
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an unclosed quotation
        words = text.split()
    named = [value for flag, value in pairwise(words) if flag in {"-m", "--model"}]
    return named[-1].removeprefix("/zip/") if named else None


def _locate(member: zipfile.ZipInfo, file: FileIO, path: Path) -> EmbeddedWeights:
    """Check the directory's entry of MEMBER; only the member's own header has the offset of its data."""
    shown = f"{member.filename[:_MAX_NAME_LENGTH]!r} in {to_printable(path.name)}"
    if member.compress_type != zipfile.ZIP_STORED:
        raise LoadFailed(f"{shown} is compressed; weights can be used only uncompressed.", _UNZIP)
    if _LATER_PART.search(member.filename):
        raise LoadFailed(f"{shown} is one of several parts of a model.", _UNZIP)
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise NotAGGUF(
            f"{to_printable(path.name)} is damaged: {member.filename[:_MAX_NAME_LENGTH]!r} is not at its offset.",
            DOWNLOAD_AGAIN,
        )
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    offset = member.header_offset + _LOCAL_HEADER + name_length + extra_length
    missing = offset + member.file_size - os.fstat(file.fileno()).st_size
    if missing > 0:
        raise TruncatedFile(f"{shown} is cut off: {to_size(missing)} are missing.", DOWNLOAD_AGAIN)
    file.seek(offset)
    if member.file_size < len(GGUF_MAGIC) or file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
        raise NotAGGUF(f"{shown} is not a GGUF file.", DOWNLOAD_AGAIN)
    return EmbeddedWeights(name=member.filename, offset=offset, size=member.file_size, crc=member.CRC)


def _archive_error(path: Path) -> ModelError:
    """Why zipfile cannot read the file."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        start = file.read(len(_EXECUTABLE_MAGICS[0]))
        if start in _EXECUTABLE_MAGICS:
            return TruncatedFile(
                f"{to_printable(path.name)} is cut off or damaged: only its start is that of a llamafile.",
                DOWNLOAD_AGAIN,
            )
        if start.startswith(GGUF_MAGIC):
            return NotAGGUF(
                f"{to_printable(path.name)} is a GGUF file, not a llamafile.", "Give it a name that ends in .gguf"
            )
    return NotAGGUF(f"{to_printable(path.name)} is not a llamafile: it is not a zip archive.", LIST_MODELS)
