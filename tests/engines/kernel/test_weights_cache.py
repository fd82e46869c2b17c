import errno
import fcntl
import os
import shutil
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from localllm_magics import demo
from localllm_magics.catalog.gguf import read_header, require_complete
from localllm_magics.core.errors import (
    ModelError,
    SetupError,
    TruncatedFile,
)
from localllm_magics.core.stop import Stopped
from localllm_magics.engines.kernel.weights_cache import (
    cache_contents,
    clean_cache,
    default_folder,
    extract_weights,
)
from tests.engines.kernel.llamafiles import GGUF, NOWHERE, model, write
from tests.processes import started
from tests.server.llamafile_stand_in import Member, make_llamafile


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.llamafile"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_extracted_weights_are_the_same_bytes_and_can_be_loaded(path: Path, cache: Path) -> None:
    make_llamafile(path, demo.PATH, "-m /zip/model.gguf", NOWHERE)

    extracted = extract_weights(path, cache)

    assert extracted.read_bytes() == demo.PATH.read_bytes()
    require_complete(read_header(extracted), extracted)
    assert list(cache.iterdir()) == [extracted]


def test_weights_are_extracted_once(path: Path, cache: Path) -> None:
    write(path, model())
    first = extract_weights(path, cache)
    os.utime(first, ns=(0, first.stat().st_mtime_ns))
    inode = first.stat().st_ino

    again = extract_weights(path, cache)

    assert (again, again.stat().st_ino) == (first, inode)
    assert again.stat().st_atime > 0


def test_a_llamafile_that_was_replaced_is_extracted_again(path: Path, cache: Path) -> None:
    write(path, model())
    first = extract_weights(path, cache)
    write(path, model(data=GGUF * 3))

    second = extract_weights(path, cache)

    assert second != first
    assert second.read_bytes() == GGUF * 3


@pytest.mark.parametrize("damaged", [b"", GGUF[:-1], b"x" * len(GGUF)], ids=["empty", "cut", "other"])
def test_a_damaged_copy_is_replaced(path: Path, cache: Path, damaged: bytes) -> None:
    write(path, model())
    extract_weights(path, cache).write_bytes(damaged)

    assert extract_weights(path, cache).read_bytes() == GGUF


@pytest.mark.parametrize(
    ("member", "stem"),
    [
        pytest.param("Qwen 3-0.6B_Q8.gguf", "Qwen_3-0.6B_Q8", id="usual"),
        pytest.param("../../../etc/passwd.gguf", "passwd", id="upwards"),
        pytest.param("/etc/.bashrc.gguf", "bashrc", id="absolute"),
        pytest.param("..\\..\\x.gguf", "_.._x", id="upwards on Windows"),
        pytest.param(".gguf", "weights", id="nothing"),
        pytest.param("\x1b[31m\n.gguf", "_31m_", id="escapes"),
        pytest.param("x" * 5000 + ".gguf", "x" * 80, id="long"),
    ],
)
def test_a_copy_lies_in_the_cache_whatever_its_member_is_called(
    path: Path, cache: Path, member: str, stem: str
) -> None:
    write(path, model(member))

    extracted = extract_weights(path, cache)

    assert extracted.parent == cache
    assert extracted.name[:-22] == stem
    assert extracted.read_bytes() == GGUF


def test_the_cache_of_the_user_is_the_default(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    write(path, model())

    extracted = extract_weights(path)

    assert extracted.parent == default_folder()
    assert [cached.path for cached in cache_contents()] == [extracted]
    assert clean_cache() == len(GGUF)
    assert cache_contents() == []


class Disk:
    """Stands in for a file system that shares blocks, with the rules of ioctl_ficlonerange(2)."""

    def __init__(self) -> None:
        self.shared = 0

    def ioctl(self, copy: int, request: int, value: bytes) -> int:
        source, offset, length, place = struct.unpack("=qQQQ", value)
        size = os.fstat(source).st_size
        end = offset + length if length else size
        if request != 0x4020940D or place or offset % 4096 or end > size or (end % 4096 and end != size):
            raise OSError(errno.EINVAL, "Invalid argument")
        self.shared = os.pwrite(copy, os.pread(source, end - offset, offset), 0)
        return 0


@pytest.mark.parametrize(
    ("others", "shared"),
    [pytest.param([model("other")], 1 << 16, id="whole blocks"), pytest.param([], 64 + 84 + 98, id="to the end")],
)
def test_blocks_are_shared_where_that_is_possible(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, others: list[Member], shared: int
) -> None:
    disk = Disk()
    monkeypatch.setattr(fcntl, "ioctl", disk.ioctl)
    write(path, model(), *others)

    extracted = extract_weights(path, cache)

    assert extracted.read_bytes() == GGUF
    assert disk.shared == shared


def refuse(*_: object, **__: object) -> int:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def without_fcntl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)


def without_copying_in_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range")


def with_two_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", refuse)


@pytest.mark.parametrize("limit", [without_fcntl, without_copying_in_the_system, with_two_file_systems])
def test_bytes_are_copied_where_the_system_does_not_help(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, limit: Callable[[pytest.MonkeyPatch], None]
) -> None:
    limit(monkeypatch)
    data = GGUF + os.urandom(12_345)
    write(path, model(data=data))

    assert extract_weights(path, cache, chunk_bytes=1000).read_bytes() == data


def cutting(path: Path, copy: Callable[..., int]) -> Callable[..., int]:
    """COPY, with PATH becoming shorter before the first step."""

    def step(*arguments: int) -> int:
        os.truncate(path, 65540)
        return copy(*arguments)

    return step


@pytest.mark.parametrize("in_system", [True, False])
def test_a_llamafile_that_shrinks_meanwhile_is_an_error(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, in_system: bool
) -> None:
    monkeypatch.setattr(os, "copy_file_range", cutting(path, os.copy_file_range if in_system else refuse))
    write(path, model())

    with pytest.raises(TruncatedFile) as caught:
        extract_weights(path, cache, chunk_bytes=10)
    assert caught.value.message == "x.llamafile changed while its weights were copied."
    assert list(cache.iterdir()) == []


def test_progress_is_reported_after_each_step_of_the_copy_and_of_its_verification(path: Path, cache: Path) -> None:
    done: list[float] = []
    write(path, model())

    extract_weights(path, cache, chunk_bytes=16, progress=done.append)
    extract_weights(path, cache, chunk_bytes=16, progress=done.append)  # from the cache

    assert done == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]


def test_what_progress_raises_ends_the_copy(path: Path, cache: Path) -> None:
    def stop(part: float) -> None:
        if part > 0.5:
            raise Stopped

    write(path, model())

    with pytest.raises(Stopped):
        extract_weights(path, cache, chunk_bytes=16, progress=stop)
    assert list(cache.iterdir()) == []


def test_an_interrupt_in_mid_copy_leaves_nothing(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "copy_file_range", interrupt)
    write(path, model())

    with pytest.raises(KeyboardInterrupt):
        extract_weights(path, cache)
    assert list(cache.iterdir()) == []


def test_damaged_weights_are_an_error_and_not_stored(path: Path, cache: Path) -> None:
    damaged = GGUF[:40] + b"xx" + GGUF[42:]
    write(path, model())
    path.write_bytes(path.read_bytes().replace(GGUF, damaged))

    with pytest.raises(ModelError) as caught:
        extract_weights(path, cache, chunk_bytes=10)
    why = f"their checksum is {zlib.crc32(damaged):08x}, and the archive says {zlib.crc32(GGUF):08x}"
    assert caught.value.message == f"The weights in x.llamafile are damaged: {why}."
    assert list(cache.iterdir()) == []


def test_too_little_space_is_an_error_before_anything_is_copied(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(99, 89, 10))
    write(path, model())

    with pytest.raises(SetupError) as caught:
        extract_weights(path, cache)
    assert caught.value.message == f"The weights of x.llamafile need 64 B in {cache}, which has 10 B free."
    assert caught.value.hint.endswith(f"%llm load llamafile:{path}")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(path: Path, cache: Path) -> None:
    cache.write_text("a file")
    write(path, model())

    with pytest.raises(SetupError) as caught:
        extract_weights(path, cache)
    assert caught.value.message == f"The weights of x.llamafile cannot be copied to {cache}: File exists."
    assert caught.value.hint.startswith("Choose another cache folder: %env XDG_CACHE_HOME=FOLDER, or run it without")


def test_the_least_recently_used_weights_are_evicted(path: Path, cache: Path) -> None:
    copies = [extract_weights(write(path.with_name(f"{name}.llamafile"), model()), cache) for name in "abc"]
    for copy, used in zip(copies, (2000, 1000, 3000), strict=True):
        os.utime(copy, (used, used))

    fourth = extract_weights(write(path, model()), cache, max_bytes=3 * len(GGUF))

    assert [cached.path for cached in cache_contents(cache)] == [copies[0], copies[2], fourth]


def test_weights_larger_than_the_cache_stay_until_others_are_extracted(path: Path, cache: Path) -> None:
    first = extract_weights(write(path.with_name("a.llamafile"), model()), cache, max_bytes=10)
    was_there = first.exists()

    second = extract_weights(write(path, model()), cache, max_bytes=10)

    assert was_there
    assert [cached.path for cached in cache_contents(cache)] == [second]


def test_what_does_not_belong_to_the_cache_stays(path: Path, cache: Path) -> None:
    cache.mkdir()
    mine = cache / "mine.gguf"
    mine.write_text("precious")
    extract_weights(write(path, model()), cache)

    freed = clean_cache(cache)

    assert freed == len(GGUF)
    assert list(cache.iterdir()) == [mine]


def test_the_rest_of_a_killed_copy_is_removed_but_not_a_copy_in_progress(path: Path, cache: Path) -> None:
    cache.mkdir()
    stale, fresh = cache / "stale.part", cache / "fresh.part"
    for part in (stale, fresh):
        part.write_bytes(b"12345")
    os.utime(stale, (0, 0))

    freed = clean_cache(cache)

    assert freed == 5
    assert list(cache.iterdir()) == [fresh]


def test_a_cache_that_was_never_used_is_empty(cache: Path) -> None:
    assert cache_contents(cache) == []
    assert clean_cache(cache) == 0
    assert not cache.exists()


def test_weights_in_use_can_be_removed(path: Path, cache: Path) -> None:
    with extract_weights(write(path, model()), cache).open("rb") as file:
        clean_cache(cache)

        assert file.read() == GGUF


def test_what_cannot_be_removed_frees_nothing(path: Path, cache: Path) -> None:
    (cache / "x-0123456789abcdef.gguf").mkdir(parents=True)

    assert clean_cache(cache) == 0


def test_the_cache_shows_what_is_in_it(path: Path, cache: Path) -> None:
    extracted = extract_weights(write(path, model()), cache)
    os.utime(extracted, (1000, 1000))
    (cache / "gone-0123456789abcdef.gguf").symlink_to("nowhere")

    [cached] = cache_contents(cache)

    assert (cached.path, cached.size_bytes, cached.modified_ns) == (extracted, len(GGUF), 1000 * 10**9)


def test_a_copy_that_may_not_be_touched_is_used(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extracted = extract_weights(write(path, model()), cache)
    monkeypatch.setattr(os, "utime", refuse)

    assert extract_weights(path, cache) == extracted


PROGRAM = """
import sys
from pathlib import Path
from localllm_magics.engines.kernel.weights_cache import extract_weights
sys.stdin.readline()
print(extract_weights(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_processes_may_extract_at_once(path: Path, cache: Path) -> None:
    make_llamafile(path, demo.PATH, None, NOWHERE)
    command = [sys.executable, "-c", PROGRAM, str(path), str(cache)]

    with ExitStack() as stack:
        processes = [stack.enter_context(started(command, cwd=Path(__file__).parents[2])) for _ in range(3)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = {process.communicate()[0].strip() for process in processes}

    [extracted] = cache.iterdir()
    assert answers == {str(extracted)}
    assert extracted.read_bytes() == demo.PATH.read_bytes()


def test_threads_may_extract_at_once(path: Path, cache: Path) -> None:
    write(path, model(data=GGUF * 1000))
    answers: list[Path] = []
    threads = [threading.Thread(target=lambda: answers.append(extract_weights(path, cache))) for _ in range(8)]
    for thread in threads:
        thread.start()

    for thread in threads:
        thread.join()

    assert len(answers) == 8
    assert list(cache.iterdir()) == [answers[0]]
