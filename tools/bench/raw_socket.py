"""The peers of our client: the least that reads an answer from a server, and curl. They send what ours sends."""

import os
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

from localllm_magics.api import load
from tools.bench.ask import Ask, Sample, Setup
from tools.bench.pieces import Pieces
from tools.bench.served import body

PATH = "/v1/chat/completions"
CURL = shutil.which("curl")
READ_BYTES = 65_536
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class RawSocket:
    """A socket for each answer, read to the last chunk."""

    def __init__(self, setup: Setup) -> None:
        self._url = setup.reference
        self._bodies = Bodies(setup)

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK; times as `ServedModel` takes them."""
        sent = self._bodies.of(ask)
        pieces, end = Pieces(), b""
        with post(self._url, sent) as connection:
            while end != _LAST_CHUNK:
                data = connection.recv(READ_BYTES)
                assert data, "llama-server closed the connection too early"
                pieces.take(data)
                end = (end + data)[-len(_LAST_CHUNK) :]
        return pieces.to_sample()


class Curl:
    """`curl -N` for each answer, read from its pipe.

    Its start is not counted: the end on its pipe is taken for the end by its own clock, which begins with the request.
    """

    def __init__(self, setup: Setup) -> None:
        self._url = setup.reference
        self._bodies = Bodies(setup)

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK; times as `ServedModel` takes them."""
        assert CURL is not None
        quiet = ["-q", "-s", "-S", "-N", "-w", "%{stderr}%{time_total}", "--noproxy", "*"]
        command = [CURL, *quiet, "-H", "Content-Type: application/json", "--data-binary", "@-", self._url + PATH]
        sent, pipe = self._bodies.of(ask), subprocess.PIPE
        with subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(sent)
            process.stdin.close()
            pieces = Pieces()
            while data := os.read(process.stdout.fileno(), READ_BYTES):
                pieces.take(data)
            said = process.stderr.read().decode()
        assert process.returncode == 0, f"curl failed: {said}"
        return pieces.to_sample(wall_seconds=float(said))


class Bodies:
    """What ours sends, made before the clock starts, once for each ask."""

    def __init__(self, setup: Setup) -> None:
        self._model = load(setup.reference)
        self._made: dict[Ask, bytes] = {}

    def of(self, ask: Ask) -> bytes:
        """The JSON for ASK."""
        if ask not in self._made:
            self._made[ask] = body(self._model, ask)
        return self._made[ask]


def post(url: str, sent: bytes) -> socket.socket:
    """A connection to the server at URL on which SENT was posted."""
    place = urlsplit(url)
    assert place.hostname is not None
    head = f"POST {PATH} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(sent)}\r\nConnection: close\r\n\r\n"
    connection = socket.create_connection((place.hostname, place.port))
    connection.sendall(head.encode() + sent)
    return connection
