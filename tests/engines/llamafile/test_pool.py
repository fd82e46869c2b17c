import os
import signal
import threading
from pathlib import Path

import pytest

from localllm_magics.core.errors import LoadFailed
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.llamafile.pool import ProcessPool, default_logs, new_log, shared_pool
from localllm_magics.engines.llamafile.process import ServerProcess
from tests.engines.llamafile.programs import wait_until, write_program
from tests.processes import is_gone

DEFAULT = LoadOptions()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path / "x.llamafile", 'echo "$@"; exec sleep 1000')


def test_two_users_of_a_file_share_a_process(pool: ProcessPool, program: Path) -> None:
    first, second = pool.acquire(program, DEFAULT), pool.acquire(program, DEFAULT)
    pool.release(first)
    is_kept = second.is_running
    pool.release(second)

    assert first is second
    assert is_kept
    assert is_gone(second.pid)


def test_a_link_to_a_file_is_the_file(pool: ProcessPool, program: Path) -> None:
    link = program.with_name("link")
    link.symlink_to(program)

    first, second = pool.acquire(program, DEFAULT), pool.acquire(link, DEFAULT)

    assert first is second
    first.stop()


def test_other_settings_are_another_process(pool: ProcessPool, program: Path) -> None:
    first = pool.acquire(program, DEFAULT)
    second = pool.acquire(program, LoadOptions(ctx=512))
    wait_until(lambda: second.last_lines(1) != [])
    line = second.last_lines(1)[0]
    for process in (first, second):
        pool.release(process)

    assert first is not second
    assert line.endswith(" -c 512")


def test_a_process_that_has_ended_is_replaced(pool: ProcessPool, program: Path) -> None:
    dead = pool.acquire(program, DEFAULT)
    os.kill(dead.pid, signal.SIGKILL)
    wait_until(lambda: not dead.is_running)

    alive = pool.acquire(program, DEFAULT)
    pool.release(dead)
    is_kept = alive.is_running
    pool.release(alive)

    assert alive is not dead
    assert is_kept
    assert is_gone(alive.pid)


def test_threads_that_start_at_once_share_a_process(pool: ProcessPool, program: Path) -> None:
    processes: list[ServerProcess] = []
    threads = [threading.Thread(target=lambda: processes.append(pool.acquire(program, DEFAULT))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for process in processes:
        pool.release(process)

    assert len(set(map(id, processes))) == 1
    assert is_gone(processes[0].pid)


def test_a_failed_start_leaves_nothing(pool: ProcessPool, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("hello")

    with pytest.raises(LoadFailed):
        pool.acquire(file, DEFAULT)
    assert not (tmp_path / "logs").exists()


def test_logs_lie_where_caches_do(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))

    process = shared_pool.acquire(program, DEFAULT)
    shared_pool.release(process)

    assert process.log.parent == default_logs()
    assert process.log.is_relative_to(tmp_path)
    assert process.log.exists()


def test_the_last_twenty_logs_are_stored(tmp_path: Path) -> None:
    old = [tmp_path / f"{number}.log" for number in range(25)]
    for number, log in enumerate(old):
        log.touch()
        os.utime(log, (number, number))
    (tmp_path / "mine.txt").touch()

    new_log(tmp_path, Path("x.llamafile")).touch()

    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) == 21
    assert {"mine.txt", "24.log", "6.log"} < kept
    assert "5.log" not in kept


def test_a_log_has_a_name_that_is_safe_and_new(tmp_path: Path) -> None:
    names = {new_log(tmp_path, Path("../a b\x1b\n.llamafile")).name for _ in range(20)}

    assert len(names) == 20
    assert all(name.startswith("a_b_-") and name.isprintable() for name in names)


def test_a_forked_process_leaves_the_processes_alone(pool: ProcessPool, program: Path) -> None:
    process = pool.acquire(program, DEFAULT)
    pooled = pool._pooled  # noqa: SLF001 - as the process that was forked keeps it

    pool.after_fork()
    pool.release(process)
    is_running = process.is_running

    assert is_running
    pool._pooled = pooled  # noqa: SLF001 - the same
    pool.release(process)


def test_a_log_is_for_its_user_alone(pool: ProcessPool, program: Path) -> None:
    process = pool.acquire(program, DEFAULT)
    modes = [oct(path.stat().st_mode & 0o777) for path in (process.log.parent, process.log)]
    pool.release(process)

    assert modes == ["0o700", "0o600"]
