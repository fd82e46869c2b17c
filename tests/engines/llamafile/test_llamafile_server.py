"""Llamafiles as servers: when they are started, shared, given back and started again."""

import os
import shlex
import sys
import threading
from pathlib import Path

import pytest

from localllm_magics.core.errors import LoadFailed
from localllm_magics.core.events import Event, Loading
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.llamafile.llamafile_server import LlamafileServer
from localllm_magics.engines.llamafile.pool import ProcessPool
from localllm_magics.engines.llamafile.process import ServerProcess
from localllm_magics.engines.server.connection import Connection
from tests.engines.llamafile.programs import wait_until, write_program
from tests.processes import is_gone

DEFAULT = LoadOptions()
ANSWERS = f"""exec {shlex.quote(sys.executable)} -c '
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
' "$@"
"""
HANGS = "exec sleep 1000"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path / "x.llamafile", ANSWERS)


def connect(server: LlamafileServer, options: LoadOptions = DEFAULT, stop: Stop | None = None) -> Connection:
    """The connection to SERVER once it runs."""
    steps = server.connect(options, stop or Stop())
    try:
        while True:
            next(steps)
    except StopIteration as done:
        connection = done.value
    assert isinstance(connection, Connection)
    return connection


def pid_of(server: LlamafileServer) -> int:
    process = server._process  # noqa: SLF001 - nobody else tells
    assert process is not None
    return process.pid


def test_a_server_is_started_with_the_first_question(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    events: list[Event] = []

    events.extend(server.connect(DEFAULT, Stop()))

    assert events == [Loading(0.0), Loading(1.0)]
    assert not server.has_exited
    server.close()


def test_closing_ends_the_process_and_again_is_no_error(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    connect(server)
    pid = pid_of(server)

    server.close()
    server.close()

    assert is_gone(pid)


def test_a_process_that_has_ended_is_started_again(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    connect(server)
    first = pid_of(server)
    os.kill(first, 9)
    wait_until(lambda: server.has_exited)

    connection = connect(server)

    assert connection.ask("GET", "/health").status == 200
    assert pid_of(server) != first
    server.close()


def test_another_of_the_same_file_shares_the_process_and_outlives_the_first(program: Path, pool: ProcessPool) -> None:
    first = LlamafileServer(program, pool)
    second = first.with_options(DEFAULT)
    connect(first)
    connect(second)
    pid = pid_of(first)
    first.close()
    is_kept = not is_gone(pid)
    second.close()

    assert is_kept
    assert is_gone(pid)


def test_two_threads_that_start_it_at_once_hold_one_process(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    threads = [threading.Thread(target=connect, args=(server,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pid = pid_of(server)

    server.close()

    assert is_gone(pid)


def test_a_stop_while_it_loads_is_seen(tmp_path: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(write_program(tmp_path / "x.llamafile", HANGS), pool)
    stop = Stop()
    steps = server.connect(DEFAULT, stop)
    next(steps)
    threading.Timer(0.05, stop.set).start()

    with pytest.raises(Stopped):
        next(steps)
    server.close()


def test_a_stop_before_it_was_started_gives_the_process_back(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        connect(server, stop=stop)
    wait_until(lambda: not pool._pooled)  # noqa: SLF001 - nobody else tells

    assert not server.has_exited


def test_what_ends_before_it_answers_is_an_error_with_its_reason(tmp_path: Path, pool: ProcessPool) -> None:
    program = write_program(tmp_path / "x.llamafile", "echo 'error loading model: no tensors'; exit 1")

    with pytest.raises(LoadFailed, match=r"x\.llamafile exited with status 1 .*it could not load its model"):
        connect(LlamafileServer(program, pool))


def test_what_is_no_program_is_an_error(tmp_path: Path, pool: ProcessPool) -> None:
    file = tmp_path / "x.llamafile"
    file.write_text("hello")

    with pytest.raises(LoadFailed, match="is not a llamafile"):
        connect(LlamafileServer(file, pool))


def test_the_key_of_the_process_is_used_and_kept_out_of_sight(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)

    connection = connect(server)

    process = server._process  # noqa: SLF001 - nobody else tells
    assert process is not None
    assert connection.key == process.key
    assert process.key not in repr(connection) + repr(process)
    server.close()


def test_a_process_that_runs_is_not_started_again(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    connect(server)
    first = pid_of(server)

    connect(server)

    assert pid_of(server) == first
    server.close()
    assert is_gone(first)


def test_a_server_that_loads_for_ever_is_given_up(tmp_path: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(write_program(tmp_path / "x.llamafile", HANGS), pool, max_load_seconds=0.0)

    with pytest.raises(LoadFailed, match=r"x\.llamafile is still loading its model") as caught:
        connect(server)
    server.close()
    assert caught.value.hint.startswith("Check its log: ")


def test_a_stop_while_it_starts_gives_the_process_back(program: Path, tmp_path: Path) -> None:
    stop = Stop()

    class StopsAfterStart(ProcessPool):
        def acquire(self, file: Path, options: LoadOptions) -> ServerProcess:
            process = super().acquire(file, options)
            stop.set()
            return process

    pool = StopsAfterStart(tmp_path / "logs")
    with pytest.raises(Stopped):
        connect(LlamafileServer(program, pool), stop=stop)

    wait_until(lambda: not pool._pooled)  # noqa: SLF001 - only it knows


def test_a_start_that_fails_after_a_stop_is_no_failure(tmp_path: Path, pool: ProcessPool) -> None:
    file = tmp_path / "x"
    file.write_text("no program")
    stop = Stop()
    stop.set()

    with pytest.raises(Stopped):
        connect(LlamafileServer(file, pool), stop=stop)


def test_a_forked_process_leaves_the_server_alone(program: Path, pool: ProcessPool) -> None:
    server = LlamafileServer(program, pool)
    connect(server)
    process = server._process  # noqa: SLF001 - nobody else tells
    assert process is not None

    server.after_fork()
    server.close()

    assert process.is_running
    pool.release(process)
