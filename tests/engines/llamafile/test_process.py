import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from localllm_magics import demo
from localllm_magics.core.errors import LoadFailed, ModelNotFound
from localllm_magics.engines.llamafile.process import ServerProcess, free_port
from tests.engines.llamafile.conftest import ARGS
from tests.engines.llamafile.programs import wait_until, write_program
from tests.processes import is_gone, started
from tests.server.llamafile_stand_in import make_llamafile

ROOT = Path(__file__).parents[3]
FOREVER = "exec sleep 1000"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "x.log"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


def wait_until_ready(process: ServerProcess, client: httpx.Client) -> None:
    def is_ready() -> bool:
        process.require_running()
        try:
            return client.get(f"{process.address}/health").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(is_ready)


def supervisor_of(process: ServerProcess) -> psutil.Process:
    return parent_of(process.pid)


def parent_of(pid: int) -> psutil.Process:
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent


def test_the_system_itself_refuses_to_start_a_llamafile(llamafile: Path) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is the point
        subprocess.Popen([llamafile])
    assert caught.value.errno == errno.ENOEXEC


def test_a_llamafile_answers_with_its_model(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with ServerProcess(llamafile, ["-t", "1"], log) as process:
        wait_until_ready(process, client)

        client.headers["Authorization"] = f"Bearer {process.key}"
        answer = client.post(f"{process.address}/completion", json={"prompt": "The", "n_predict": 4}).json()
        context = client.get(f"{process.address}/props").json()["default_generation_settings"]["n_ctx"]
        command = psutil.Process(process.pid).cmdline()

    assert answer["tokens_predicted"] == 4
    assert context == 256
    assert command[0] == "llamafile"
    assert command[-2:] == ["-t", "1"]


def test_only_who_has_its_key_is_answered(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with ServerProcess(llamafile, [], log) as process:
        wait_until_ready(process, client)

        keys = [{"Authorization": f"Bearer {key}"} for key in ("guessed", process.key)]
        statuses = [client.get(f"{process.address}/props", headers=key).status_code for key in keys]

    assert statuses == [401, 200]


def test_a_stop_ends_server_and_supervisor(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with ServerProcess(llamafile, [], log) as process:
        wait_until_ready(process, client)
        supervisor = supervisor_of(process)

        process.stop()

    assert is_gone(process.pid)
    assert not supervisor.is_running()
    assert (process.is_running, process.exit_status) == (False, 0)
    with pytest.raises(LoadFailed, match=r"x\.llamafile was stopped\."):
        process.require_running()


def test_a_process_shows_its_state(tmp_path: Path, log: Path) -> None:
    with ServerProcess(write_program(tmp_path / "x", FOREVER), [], log) as process:
        while_running = repr(process)
        status = process.exit_status

    port = process.address.port
    assert status is None
    assert while_running == f"<ServerProcess x at http://127.0.0.1:{port}, running>"
    assert repr(process) == f"<ServerProcess x at http://127.0.0.1:{port}, exited -15>"


def test_a_server_that_does_not_listen_is_killed(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    with ServerProcess(program, [], log) as process:
        wait_until(lambda: process.last_lines(1) == ["ready"])

    assert process.exit_status == -signal.SIGKILL
    assert is_gone(process.pid)


def test_what_the_server_started_ends_with_it(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", "sleep 1000 & echo $!; wait")
    with ServerProcess(program, [], log) as process:
        wait_until(lambda: process.last_lines(1) != [])
        child = int(process.last_lines(1)[0])

    assert is_gone(child)


def test_what_a_dead_server_started_does_not_stay(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", "sleep 1000 & echo $!; exit 7")
    with ServerProcess(program, [], log) as process:
        wait_until(lambda: not process.is_running)

        assert process.exit_status == 7
        assert is_gone(int(process.last_lines(1)[0]))


KERNEL = """
import os, sys, time
from pathlib import Path
from localllm_magics.engines.llamafile.process import ServerProcess
process = ServerProcess(Path(sys.argv[1]), [], Path(sys.argv[2]))
forked = os.fork() if sys.argv[3] == "forks" else 0
if sys.argv[3] == "forks" and forked == 0:
    time.sleep(1000)
print(process.pid, forked, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("behaviour", "end"),
    [
        pytest.param("waits", signal.SIGKILL, id="killed"),
        pytest.param("waits", signal.SIGTERM, id="terminated"),
        pytest.param("waits", None, id="ended"),
        pytest.param("forks", signal.SIGKILL, id="killed, and a child holds its pipes"),
    ],
)
def test_the_server_ends_with_the_kernel(
    llamafile: Path, log: Path, behaviour: str, end: signal.Signals | None
) -> None:
    command = [sys.executable, "-c", KERNEL, str(llamafile), str(log), behaviour]
    with started(command, cwd=ROOT) as kernel, ExitStack() as stack:
        assert kernel.stdin is not None
        assert kernel.stdout is not None
        pid, forked = map(int, kernel.stdout.readline().split())
        if forked:
            stack.callback(os.kill, forked, signal.SIGKILL)
        supervisor = parent_of(pid)

        if end is None:
            kernel.stdin.close()
        else:
            kernel.send_signal(end)

        wait_until(lambda: is_gone(pid) and is_gone(supervisor.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_the_server_ends_with_its_supervisor(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with ServerProcess(llamafile, [], log) as process:
        wait_until_ready(process, client)

        supervisor_of(process).kill()

        wait_until(lambda: is_gone(process.pid))
        assert not process.is_running
        assert process.exit_status == -signal.SIGKILL


def test_what_the_server_started_ends_with_a_killed_supervisor(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", "sleep 1000 & echo $!; wait")
    with ServerProcess(program, [], log) as process:
        wait_until(lambda: process.last_lines(1) != [])
        child = int(process.last_lines(1)[0])

        supervisor_of(process).kill()

        wait_until(lambda: not process.is_running)
        wait_until(lambda: is_gone(child))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_supervisor_that_is_asked_to_end_stops_the_server(tmp_path: Path, log: Path, number: signal.Signals) -> None:
    with ServerProcess(write_program(tmp_path / "x", FOREVER), [], log) as process:
        supervisor_of(process).send_signal(number)

        wait_until(lambda: not process.is_running)
        assert process.exit_status == -signal.SIGTERM


def test_a_supervisor_that_hangs_is_killed_with_the_server(tmp_path: Path, log: Path) -> None:
    with ServerProcess(write_program(tmp_path / "x", FOREVER), [], log, stop_seconds=0.2) as process:
        supervisor_of(process).suspend()

    wait_until(lambda: is_gone(process.pid))
    assert process.exit_status == -signal.SIGKILL


def test_a_server_that_died_is_seen_at_once(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with ServerProcess(llamafile, [], log) as process:
        wait_until_ready(process, client)

        os.kill(process.pid, signal.SIGUSR1)

        wait_until(lambda: not process.is_running)
        assert process.exit_status == -signal.SIGUSR1


def test_an_architecture_that_is_not_known_is_an_error(tmp_path: Path, server: Path, log: Path) -> None:
    kind = b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0"
    other = tmp_path / "other.gguf"
    other.write_bytes(demo.PATH.read_bytes().replace(kind + b"llama", kind + b"xlama"))
    file = make_llamafile(tmp_path / "x.llamafile", other, ARGS, server)

    with ServerProcess(file, [], log) as process:
        wait_until(lambda: not process.is_running)
        with pytest.raises(LoadFailed) as caught:
            process.require_running()

    first, *lines = caught.value.message.split("\n")
    reason = "it does not know the architecture of its model"
    assert first == f"x.llamafile exited with status 1 before it answered: {reason}."
    assert len(lines) == 5
    assert caught.value.hint == "Get a newer llamafile of the model, or load its GGUF file."


def test_a_port_that_was_taken_meanwhile_is_no_failure(llamafile: Path, log: Path, client: httpx.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, free_port()])
        with ServerProcess(llamafile, [], log, find_port=lambda: next(ports)) as process:
            wait_until(lambda: not process.is_running)

            wait_until_ready(process, client)

            assert process.address.port != taken


def test_a_port_that_is_taken_twice_is_an_error(llamafile: Path, log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with ServerProcess(llamafile, [], log, find_port=lambda: taken) as process:
            wait_until(lambda: not process.is_running)
            process.require_running()
            wait_until(lambda: not process.is_running)

            with pytest.raises(LoadFailed, match="its port was taken by another program"):
                process.require_running()


def test_an_old_llamafile_opens_no_browser_and_may_choose_its_port(tmp_path: Path, log: Path) -> None:
    deed = 'echo "$@"; echo "llama server listening at http://127.0.0.1:8085"; exec sleep 1000'
    program = write_program(tmp_path / "x", deed)
    program.write_text(program.read_text().replace("&& exit", '&& echo "llamafile v0.9.3" && exit'))

    with ServerProcess(program, [], log) as process:
        wait_until(lambda: len(process.last_lines(9)) == 3)

        assert re.fullmatch(
            r"--server --host 127\.0\.0\.1 --port \d+ --nobrowser --api-key \S+", process.last_lines(9)[1]
        )
        assert process.address.url == "http://127.0.0.1:8085"


def test_a_new_llamafile_is_where_it_was_told_to_be(llamafile: Path, log: Path) -> None:
    with ServerProcess(llamafile, [], log) as process:
        wait_until(lambda: any(line.startswith("arguments:") for line in process.last_lines(99)))
        port = process.address.port
        [arguments] = [line for line in process.last_lines(99) if line.startswith("arguments:")]

    assert arguments == f"arguments: -m /zip/model.gguf -c 256 --server --host 127.0.0.1 --port {port}"


def test_the_log_is_shown_without_what_could_harm(tmp_path: Path, log: Path) -> None:
    deed = r"""printf '\033[31mred\007\n\n\377bad\n%0999d\nlast' 0; exit 3"""
    with ServerProcess(write_program(tmp_path / "x", deed), [], log) as process:
        wait_until(lambda: not process.is_running)

        assert process.last_lines(9) == [" [31mred", "\ufffdbad", "0" * 300, "last"]
        assert process.last_lines(1) == ["last"]


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", "head -c 1000000 /dev/zero | tr '\\0' 'x'; echo; echo last")
    with ServerProcess(program, [], log) as process:
        wait_until(lambda: not process.is_running)

        assert process.last_lines(9) == ["x" * 300, "last"]


def test_a_log_does_not_grow_without_end(tmp_path: Path, log: Path) -> None:
    done, go, limit = tmp_path / "done", tmp_path / "go", 1 << 26
    os.mkfifo(go)
    deed = f"head -c {limit + 1} /dev/zero; touch {done}; read line < {go}; echo last; {FOREVER}"
    with ServerProcess(write_program(tmp_path / "x", deed), [], log) as process:
        wait_until(lambda: done.exists() and log.stat().st_size < limit)

        go.write_text("go\n")

        wait_until(lambda: process.last_lines(1) == ["last"])
        assert log.stat().st_size < limit


def test_a_log_that_was_removed_is_empty(tmp_path: Path, log: Path) -> None:
    with ServerProcess(write_program(tmp_path / "x", FOREVER), [], log) as process:
        log.unlink()

        assert process.last_lines(9) == []


def test_a_program_that_cannot_be_run_is_an_error(tmp_path: Path, log: Path) -> None:
    program = tmp_path / "x"
    program.write_text("#!/nowhere/shell\n")
    program.chmod(0o755)

    with pytest.raises(LoadFailed) as caught:
        ServerProcess(program, [], log)
    assert "No such file or directory" in caught.value.message


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")

    with pytest.raises(LoadFailed, match=r"x cannot be started: .*File exists"):
        ServerProcess(write_program(tmp_path / "x", FOREVER), [], tmp_path / "logs" / "x.log")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, log: Path) -> None:
    with pytest.raises(ModelNotFound):
        ServerProcess(tmp_path / "x", [], log)


def test_many_threads_may_stop_a_process(tmp_path: Path, log: Path) -> None:
    with ServerProcess(write_program(tmp_path / "x", FOREVER), [], log) as process:
        threads = [threading.Thread(target=process.stop) for _ in range(4)]
        for thread in threads:
            thread.start()

        for thread in threads:
            thread.join()

        assert is_gone(process.pid)


def test_nothing_of_the_kernel_is_left_open(tmp_path: Path, log: Path) -> None:
    program = write_program(tmp_path / "x", FOREVER)
    ServerProcess(program, [], log).stop()
    me = psutil.Process()
    files, threads = me.num_fds(), me.num_threads()

    for _ in range(3):
        ServerProcess(program, [], log).stop()

    wait_until(lambda: me.num_fds() <= files and me.num_threads() <= threads)
