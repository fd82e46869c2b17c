"""An offload device without a GPU: llama.cpp's RPC server, in another process of this machine."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tools.setup.environment import VENV

_PROGRAM = VENV / "bin" / "ggml-rpc-server"
_HOST = "127.0.0.1"
_MOST_SECONDS = 20


@contextmanager
def rpc_device() -> Iterator[str]:
    """The endpoint of a server that runs meanwhile, for `Library.add_rpc_server`."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    command = [str(_PROGRAM), "-H", _HOST, "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port)
            yield f"{_HOST}:{port}"
        finally:
            process.kill()


def _wait(port: int) -> None:
    end = time.monotonic() + _MOST_SECONDS
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection((_HOST, port), timeout=1):
            return
        if time.monotonic() > end:
            message = f"{_PROGRAM.name} does not answer."
            raise SystemExit(message)
        time.sleep(0.05)
