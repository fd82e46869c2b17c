"""The cache of weights that were extracted from llamafiles, since llama.cpp loads only files of their own."""

import contextlib
import errno
import hashlib
import os
import re
import shlex
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from localllm_magics.core.errors import ModelError, SetupError, TruncatedFile
from localllm_magics.core.hints import DOWNLOAD_AGAIN
from localllm_magics.core.model_info import FileStamp
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.core.table import to_size
from localllm_magics.engines.cache_folder import cache_folder, make_private, open_regular
from localllm_magics.engines.file_stamp import read_stamp
from localllm_magics.engines.kernel.embedded_weights import GGUF_MAGIC, EmbeddedWeights, find_weights

CACHE_BYTES = 50_000_000_000
"""The size limit of the cache; the least recently used weights are removed first."""

_CACHED = re.compile(r"-[0-9a-f]{16}\.gguf$")
_PART_SUFFIX = ".part"
_STALE_NANOSECONDS = 600 * 10**9  # a copy in progress is written to all the time
_CHUNK_BYTES = 1 << 24
_BLOCK_BYTES = 1 << 16
_FICLONERANGE = 0x4020940D
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COPY_TIME = 10**18  # that of a copy's last change, in whole seconds for every file system: who writes to it changes it

_Report = Callable[[int], None]  # takes the bytes that were copied and verified


def extract_weights(
    path: Path,
    folder: Path | None = None,
    *,
    progress: Callable[[float], None] = lambda _: None,
    max_bytes: int = CACHE_BYTES,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Path:
    """Return a file with the weights of a llamafile alone, copied into the cache unless they are there.

    Args:
        path: The llamafile.
        folder: The cache; by default the user's own.
        progress: Called with the part that is done, from 0 to 1, after each step; what it raises ends the copy.
        max_bytes: The size limit of the cache.
        chunk_bytes: Bytes of one step.

    Raises:
        ModelError: The file contains no weights that can be used, or they are damaged.
        SetupError: There is too little space, or no permission to write.
    """
    weights = find_weights(path)
    folder = folder or default_folder()
    try:
        target = folder / _cached_name(path, weights)
        if _is_complete(target, weights) and target.stat().st_mtime_ns == _COPY_TIME:
            with contextlib.suppress(OSError):  # it may be the file of another user
                _set_used(target)
            return target
        make_private(folder)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        _evict(folder, weights.size, keep=target, max_bytes=max_bytes)
        # Each byte is counted twice: when it was copied, and when it was verified.
        _extract(path, weights, target, chunk_bytes, lambda done: progress(done / (2 * weights.size)))
    except OSError as exc:
        why = exc.strerror or exc
        raise SetupError(
            f"The weights of {to_printable(path.name)} cannot be copied to {folder}: {why}.", _hint(path, exc)
        ) from exc
    return target


def default_folder() -> Path:
    """The cache of this user."""
    return cache_folder() / "llamafile"


def cache_contents(folder: Path | None = None) -> list[FileStamp]:
    """The files of the cache, the least recently used first: a use sets the time of the last access."""
    found = [
        (_used(file), read_stamp(file)) for file in _files(folder or default_folder()) if _CACHED.search(file.name)
    ]
    stamps = [(used, stamp) for used, stamp in found if stamp is not None]
    return [stamp for _, stamp in sorted(stamps, key=lambda pair: (pair[0], pair[1].path.name))]


def clean_cache(folder: Path | None = None) -> int:
    """Empty the cache and return the number of bytes freed; weights that are loaded stay loaded on Unix."""
    folder = folder or default_folder()
    return _remove_stale_parts(folder) + sum(_remove(cached.path) for cached in cache_contents(folder))


def _cached_name(path: Path, weights: EmbeddedWeights) -> str:
    """A safe file name, which changes with the llamafile."""
    status = path.stat()
    source = (str(path.resolve()), status.st_size, status.st_mtime_ns, weights.name, weights.offset, weights.size)
    digest = hashlib.sha256(repr(source).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", weights.name.rpartition("/")[2][: -len(".gguf")])
    return f"{stem.lstrip('.-')[:80] or 'weights'}-{digest}.gguf"


def _verify(part: Path, weights: EmbeddedWeights, path: Path, chunk_bytes: int, report: _Report) -> None:
    """Compare the copy with the size and the checksum in the archive; GGUF itself has none."""
    if not _is_complete(part, weights):
        raise TruncatedFile(f"{to_printable(path.name)} changed while its weights were copied.", DOWNLOAD_AGAIN)
    crc = 0
    with part.open("rb", buffering=0) as file:
        while data := file.read(chunk_bytes):
            crc = zlib.crc32(data, crc)
            report(weights.size + file.tell())
    if crc != weights.crc:
        why = f"their checksum is {crc:08x}, and the archive says {weights.crc:08x}"
        raise ModelError(
            f"The weights in {to_printable(path.name)} are damaged: {why}.", "Download the file again, from its start."
        )


def _is_complete(file: Path, weights: EmbeddedWeights) -> bool:
    try:
        with open_regular(file) as opened:
            return os.fstat(opened.fileno()).st_size == weights.size and opened.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    except OSError:
        return False


def _set_used(file: Path) -> None:
    os.utime(file, ns=(time.time_ns(), _COPY_TIME))


def _used(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_atime_ns
    return 0


def _extract(path: Path, weights: EmbeddedWeights, target: Path, chunk_bytes: int, report: _Report) -> None:
    """Copy into a temporary file beside TARGET, then rename it; processes that do so concurrently do not interfere."""
    handle, name = tempfile.mkstemp(prefix=f"{target.stem}.", suffix=_PART_SUFFIX, dir=target.parent)
    part = Path(name)
    try:
        with open(handle, "wb", buffering=0) as copy, path.open("rb", buffering=0) as source:  # noqa: PTH123 - it is open
            if not _reflink(source, copy, weights):
                _require_space(path, weights, target.parent)
                _copy(source, copy, weights, chunk_bytes, report)
        _verify(part, weights, path, chunk_bytes, report)
        part.replace(target)
        _set_used(target)  # and not earlier: a part that seems old is removed
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _reflink(source: FileIO, copy: FileIO, weights: EmbeddedWeights) -> bool:
    """Share the blocks instead of copying them, where the file system can (Btrfs, XFS)."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    # Only whole blocks, or up to the end of the file, for which the length is 0; then the copy is truncated.
    length = -(-weights.size // _BLOCK_BYTES) * _BLOCK_BYTES
    if weights.offset + length > os.fstat(source.fileno()).st_size:
        length = 0
    request = struct.pack("=qQQQ", source.fileno(), weights.offset, length, 0)
    try:
        fcntl.ioctl(copy.fileno(), _FICLONERANGE, request)
    except OSError:
        return False
    copy.truncate(weights.size)
    return True


def _require_space(path: Path, weights: EmbeddedWeights, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < weights.size:
        need = f"need {to_size(weights.size)} in {folder}, which has {to_size(free)} free"
        raise SetupError(f"The weights of {to_printable(path.name)} {need}.", _hint(path, OSError(errno.ENOSPC, "")))


def _copy(source: FileIO, copy: FileIO, weights: EmbeddedWeights, chunk_bytes: int, report: _Report) -> None:
    """Copy in steps; by the operating system itself where it can."""
    done, in_system = 0, hasattr(os, "copy_file_range")
    while done < weights.size:
        start, left = weights.offset + done, min(chunk_bytes, weights.size - done)
        if in_system:
            try:
                count = os.copy_file_range(source.fileno(), copy.fileno(), left, start, done)
            except OSError:  # for example, between two file systems
                in_system = False
                continue
        else:
            source.seek(start)
            copy.seek(done)
            count = copy.write(source.read(left))
        if count == 0:
            return  # the llamafile was truncated meanwhile, which the size of the copy shows
        done += count
        report(done)


def _evict(folder: Path, size: int, *, keep: Path, max_bytes: int) -> None:
    """Remove the least recently used weights until SIZE more bytes fit into the cache."""
    _remove_stale_parts(folder)
    others = [cached for cached in cache_contents(folder) if cached.path != keep]
    surplus = size + sum(cached.size_bytes for cached in others) - max_bytes
    for cached in others:
        if surplus <= 0:
            break
        surplus -= _remove(cached.path)


def _remove_stale_parts(folder: Path) -> int:
    """Remove the temporary files of copies that were killed."""
    stamps = [read_stamp(file) for file in _files(folder) if file.name.endswith(_PART_SUFFIX)]
    oldest = time.time_ns() - _STALE_NANOSECONDS
    return sum(_remove(stamp.path) for stamp in stamps if stamp is not None and stamp.modified_ns < oldest)


def _remove(file: Path) -> int:
    """Remove FILE and return its size; 0 if it is gone, or in use on Windows."""
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


def _hint(path: Path, error: OSError) -> str:
    first = "Free some space" if error.errno in _NO_SPACE else "Choose another cache folder: %env XDG_CACHE_HOME=FOLDER"
    return f"{first}, or run it without a copy: %llm load llamafile:{shlex.quote(str(path))}"
