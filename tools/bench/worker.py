"""A contender in a process of its own, which stays alive and works when it is told to."""

import importlib
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Protocol

from tools.bench.ask import Ask, Memory, Sample, Setup, memory_of

_SECONDS = 600
BARE = "tools.bench.bare:BareLoop"
HIGH_LEVEL = "tools.bench.high_level:HighLevel"
COMPLETE = "tools.bench.complete:Complete"
SERVED = "tools.bench.served:ServedModel"
RAW_SOCKET, CURL = "tools.bench.raw_socket:RawSocket", "tools.bench.raw_socket:Curl"


class WorkerFailed(Exception):
    """A contender died or did not answer; the message says which."""


class _Answerer(Protocol):
    def ask(self, ask: Ask) -> Sample: ...


class Worker:
    """A `Contender` elsewhere.

    Args:
        contender: Its module and class, `BARE` for example; imported over there only, so that memory compares.
        setup: How it loads the model.
    """

    def __init__(self, contender: str, setup: Setup) -> None:
        self._name = contender
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contender, setup), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._receive()
        except BaseException:
            self._process.kill()
            raise

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK over there."""
        self._connection.send(ask)
        sample = self._receive()
        assert isinstance(sample, Sample)
        return sample

    def memory(self) -> Memory:
        """What its process holds now."""
        return memory_of(self._process.pid or 0)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)
        self._process.kill()

    def _receive(self) -> object:
        try:
            if self._connection.poll(_SECONDS):
                return self._connection.recv()
        except EOFError:
            self._process.join(10)
            raise WorkerFailed(f"{self._name} ended with code {self._process.exitcode}.") from None
        raise WorkerFailed(f"{self._name} did not answer for {_SECONDS} seconds.")


def _serve(connection: "Connection[Any, Any]", contender: str, setup: Setup) -> None:
    module, _, name = contender.partition(":")
    answerer: _Answerer = getattr(importlib.import_module(module), name)(setup)
    connection.send("ready")
    while True:
        try:
            ask = connection.recv()
        except EOFError:
            return
        connection.send(answerer.ask(ask))
