"""The weights inside a llamafile, which is a program and a zip archive at once.

llama.cpp opens only files that begin with the weights, so these are copied out, once, into a cache. The archive is
untrusted: its directory is read up to `_LONGEST_DIRECTORY` bytes, what it says is checked against the file, and the
names in it name nothing on this machine.
"""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path

from localllm_magics.core.errors import LoadFailed, ModelError, ModelNotFound, NotAGGUF, SetupError, TruncatedFile
from localllm_magics.core.hints import DOWNLOAD_AGAIN, LIST_MODELS
from localllm_magics.core.table import to_size
from localllm_magics.engines.cache_folder import cache_folder

CACHE_BYTES = 50_000_000_000
"""What the cache may hold; what was not used for the longest time leaves first."""

_MAGIC = b"GGUF"
_PROGRAM_MAGICS = (b"MZqFpD", b"jartsr")
_DAMAGED = (zipfile.BadZipFile, struct.error, zlib.error, EOFError, OverflowError, RuntimeError, ValueError)
_LOCAL_HEADER = 30
_LONGEST_DIRECTORY = 1 << 22
_LONGEST_END = 1 << 17  # what ends an archive, with a comment of up to 64 KiB
_LONGEST_ARGS = 1 << 16
_PART_OF_SPLIT = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf$", re.IGNORECASE)
_CACHED = re.compile(r"-[0-9a-f]{16}\.gguf$")
_PART = ".part"
_DEAD_AFTER = 600  # seconds; a copy that goes on is written to all the time
_CHUNK = 1 << 24
_BLOCK = 1 << 16
_FICLONERANGE = 0x4020940D
_UNPACK = "Take the weights out and load those: unzip FILE.llamafile"
_BARE = "Load the GGUF file itself, or start it yourself with one: llamafile --server -m MODEL.gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where the weights lie in a llamafile.

    Args:
        name: The member's name in the archive; untrusted.
        offset: Where their first byte is in the file.
        crc: The checksum that the archive's directory gives.
    """

    name: str
    offset: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedWeights:
    """Weights that were copied out of a llamafile.

    Args:
        used: When they were last asked for, in seconds since 1970.
    """

    path: Path
    size_bytes: int
    used: float


def find_weights(path: Path) -> Weights:
    """Find the weights that a llamafile runs: those that its `.args` name, else the largest.

    Raises:
        ModelNotFound: Nothing is there.
        NotAGGUF: It is something else, holds no weights, or is damaged.
        TruncatedFile: It ends too early.
        LoadFailed: The weights cannot be used where they are.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotAGGUF(f"{path.name} is not a file.", LIST_MODELS)
        with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            return _locate(_choose(archive, path), file, path)
    except FileNotFoundError as exc:
        raise ModelNotFound(f"There is no file {path}.", LIST_MODELS) from exc
    except OSError as exc:
        raise ModelError(f"{path} cannot be read: {exc.strerror or exc}.", LIST_MODELS) from exc
    except _DAMAGED as exc:
        raise _no_archive(path) from exc


def extract_weights(path: Path, folder: Path | None = None) -> Path:
    """Return a file with the weights of a llamafile alone, copied into the cache if they are not there yet.

    Args:
        path: The llamafile.
        folder: The cache; without it, the user's own.

    Raises:
        ModelError: The file holds no weights that can be used, or they are damaged.
        SetupError: There is no space for them, or no right to write.
    """
    weights = find_weights(path)
    folder = folder or default_folder()
    try:
        target = folder / _cached_name(path, weights)
        if _is_whole(target, weights):
            with contextlib.suppress(OSError):  # it may be another user's
                os.utime(target)
            return target
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, weights.size, keep=target)
        _extract(path, weights, target)
    except OSError as exc:
        why = exc.strerror or exc
        raise SetupError(f"The weights of {path.name} cannot be copied to {folder}: {why}.", _run(path)) from exc
    return target


def default_folder() -> Path:
    """The cache of this user."""
    return cache_folder() / "llamafile"


def cache_contents(folder: Path | None = None) -> list[CachedWeights]:
    """What is in the cache, that which was not used for the longest time first."""
    found = []
    for file in _files(folder or default_folder()):
        with contextlib.suppress(OSError):  # another process may have removed it
            if _CACHED.search(file.name):
                status = file.stat()
                found.append(CachedWeights(path=file, size_bytes=status.st_size, used=status.st_mtime))
    return sorted(found, key=lambda cached: (cached.used, cached.path.name))


def clean_cache(folder: Path | None = None) -> int:
    """Empty the cache and return how many bytes that freed; weights that are loaded stay loaded on Unix."""
    folder = folder or default_folder()
    return _remove_dead_parts(folder) + sum(_remove(cached.path) for cached in cache_contents(folder))


class _BoundedFile(FileIO):
    """A file that gives no more at once than a directory may need: zipfile reads as much as a file tells it to."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = _LONGEST_END
        if size > _LONGEST_DIRECTORY:
            raise zipfile.BadZipFile("the directory is too long")
        return super().read(size) or b""


def _choose(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The member that is run."""
    found = [member for member in archive.infolist() if member.filename.lower().endswith(".gguf")]
    named = _model_in_args(archive) if len(found) > 1 else None
    models = [member for member in found if not member.filename.rpartition("/")[2].lower().startswith("mmproj")]
    chosen = [member for member in found if member.filename == named] or models
    if not chosen:
        raise NotAGGUF(f"{path.name} holds no weights: it is the llamafile program alone.", _BARE)
    return max(chosen, key=lambda member: member.file_size)


def _model_in_args(archive: zipfile.ZipFile) -> str | None:
    """The member that the last `-m` of `.args` names; there are words as in a shell, one or more in a line."""
    member = archive.NameToInfo.get(".args")
    if member is None or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return None
    with archive.open(member) as file:
        text = file.read(_LONGEST_ARGS).decode("utf-8", "replace")
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # a quotation without an end
        words = text.split()
    named = [value for flag, value in pairwise(words) if flag in {"-m", "--model"}]
    return named[-1].removeprefix("/zip/") if named else None


def _locate(member: zipfile.ZipInfo, file: FileIO, path: Path) -> Weights:
    """Check what the directory says of MEMBER; where its data begins, only its own header tells."""
    shown = f"{member.filename[:100]!r} in {path.name}"
    if member.compress_type != zipfile.ZIP_STORED:
        raise LoadFailed(f"{shown} is compressed; weights can be used only as they are.", _UNPACK)
    if _PART_OF_SPLIT.search(member.filename):
        raise LoadFailed(f"{shown} is one of several parts of a model.", _UNPACK)
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise NotAGGUF(f"{path.name} is damaged: {member.filename[:100]!r} is not where it should be.", DOWNLOAD_AGAIN)
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    offset = member.header_offset + _LOCAL_HEADER + name_length + extra_length
    missing = offset + member.file_size - os.fstat(file.fileno()).st_size
    if missing > 0:
        raise TruncatedFile(f"{shown} is cut off: {to_size(missing)} are missing.", DOWNLOAD_AGAIN)
    file.seek(offset)
    if member.file_size < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        raise NotAGGUF(f"{shown} is not a GGUF file.", DOWNLOAD_AGAIN)
    return Weights(name=member.filename, offset=offset, size=member.file_size, crc=member.CRC)


def _no_archive(path: Path) -> ModelError:
    """Why a file that zipfile cannot read is none."""
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        start = file.read(len(_PROGRAM_MAGICS[0]))
        if start in _PROGRAM_MAGICS:
            return TruncatedFile(f"{path.name} is cut off or damaged: it begins as a llamafile only.", DOWNLOAD_AGAIN)
        if start.startswith(_MAGIC):
            return NotAGGUF(f"{path.name} is a GGUF file and no llamafile.", "Give it a name that ends in .gguf")
    return NotAGGUF(f"{path.name} is not a llamafile: it is no zip archive.", LIST_MODELS)


def _cached_name(path: Path, weights: Weights) -> str:
    """A name that is safe, and another one once the llamafile is another one."""
    status = path.stat()
    source = (str(path.resolve()), status.st_size, status.st_mtime_ns, weights.name, weights.offset, weights.size)
    digest = hashlib.sha256(repr(source).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", weights.name.rpartition("/")[2][: -len(".gguf")])
    return f"{stem.lstrip('.-')[:80] or 'weights'}-{digest}.gguf"


def _require_whole(part: Path, weights: Weights, path: Path) -> None:
    if not _is_whole(part, weights):
        raise TruncatedFile(f"{path.name} changed while its weights were copied.", DOWNLOAD_AGAIN)


def _require_sound(part: Path, weights: Weights, path: Path) -> None:
    """Compare what was copied with the checksum in the archive; GGUF itself has none."""
    crc = 0
    with part.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            crc = zlib.crc32(data, crc)
    if crc != weights.crc:
        told = f"their checksum is {crc:08x}, and the archive says {weights.crc:08x}"
        raise ModelError(f"The weights in {path.name} are damaged: {told}.", "Download the file again, from its start.")


def _is_whole(file: Path, weights: Weights) -> bool:
    try:
        with file.open("rb") as opened:
            return os.fstat(opened.fileno()).st_size == weights.size and opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _extract(path: Path, weights: Weights, target: Path) -> None:
    """Copy into a file beside TARGET, which becomes it once it is whole; two processes do not meet."""
    handle, name = tempfile.mkstemp(prefix=f"{target.stem}.", suffix=_PART, dir=target.parent)
    part = Path(name)
    try:
        with open(handle, "wb", buffering=0) as copy, path.open("rb", buffering=0) as source:  # noqa: PTH123 - no path
            if not _clone(source, copy, weights):
                _require_space(path, weights, target.parent)
                _copy(source, copy, weights)
        _require_whole(part, weights, path)
        _require_sound(part, weights, path)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _clone(source: FileIO, copy: FileIO, weights: Weights) -> bool:
    """Share the bytes instead of copying them, where the file system can: Btrfs and XFS, for one."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    # Whole blocks only, or else up to the end of the file, which is written 0; what is too much is cut off.
    length = -(-weights.size // _BLOCK) * _BLOCK
    if weights.offset + length > os.fstat(source.fileno()).st_size:
        length = 0
    request = struct.pack("=qQQQ", source.fileno(), weights.offset, length, 0)
    try:
        fcntl.ioctl(copy.fileno(), _FICLONERANGE, request)
    except OSError:
        return False
    copy.truncate(weights.size)
    return True


def _require_space(path: Path, weights: Weights, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < weights.size:
        need = f"need {to_size(weights.size)} in {folder}, which has {to_size(free)} free"
        raise SetupError(f"The weights of {path.name} {need}.", _run(path))


def _copy(source: FileIO, copy: FileIO, weights: Weights) -> None:
    """Copy in steps, so that an interrupt is seen; the system's own copy moves no byte through this process."""
    done, in_system = 0, hasattr(os, "copy_file_range")
    while done < weights.size:
        at, left = weights.offset + done, min(_CHUNK, weights.size - done)
        if in_system:
            try:
                count = os.copy_file_range(source.fileno(), copy.fileno(), left, at, done)
            except OSError:  # not between these two file systems, for one
                in_system = False
                continue
        else:
            source.seek(at)
            copy.seek(done)
            count = copy.write(source.read(left))
        if count == 0:
            return  # the llamafile has become shorter, which the size tells
        done += count


def _make_room(folder: Path, size: int, keep: Path) -> None:
    """Remove what was not used for the longest time until SIZE more bytes fit into the cache."""
    _remove_dead_parts(folder)
    others = [cached for cached in cache_contents(folder) if cached.path != keep]
    surplus = size + sum(cached.size_bytes for cached in others) - CACHE_BYTES
    for cached in others:
        if surplus <= 0:
            break
        surplus -= _remove(cached.path)


def _remove_dead_parts(folder: Path) -> int:
    """Remove what copies left behind that were killed."""
    freed = 0
    for file in _files(folder):
        with contextlib.suppress(OSError):
            if file.name.endswith(_PART) and time.time() - file.stat().st_mtime > _DEAD_AFTER:
                freed += _remove(file)
    return freed


def _remove(file: Path) -> int:
    """Remove FILE and return its size; one that is gone, or that Windows keeps because it is in use, frees nothing."""
    try:
        size = file.stat().st_size
        file.unlink()
    except OSError:
        return 0
    return size


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _run(path: Path) -> str:
    return f"Free some space, or run it without a copy: %llm load llamafile:{shlex.quote(str(path))}"
