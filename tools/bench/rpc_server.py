"""llama.cpp's RPC server: a device in another process."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = Path(sys.executable).with_name("ggml-rpc-server")
_SECONDS = 20


@contextmanager
def rpc_server(threads: int) -> Iterator[str]:
    """Its address, while the block runs."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(_PROGRAM), "--host", "127.0.0.1", "--port", str(port), "--threads", str(threads)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, "the RPC server does not answer"
            time.sleep(0.05)
        else:
            return
