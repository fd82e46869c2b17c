"""The lifetime of an engine: its end stops what runs on it, and nothing starts after that."""

from collections.abc import Iterator
from contextlib import contextmanager

from localllm_magics.core.errors import UsageError
from localllm_magics.core.fork import repair_after_fork
from localllm_magics.core.stop import Stop


class Lifetime:
    """Knows the `Stop` of each use of an engine; all methods may be called from any thread.

    Args:
        reference: The model, for the message of the error.
    """

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._stops: list[Stop] = []
        self._has_ended = False
        repair_after_fork(self)

    def after_fork(self) -> None:
        """Forget what runs in the process that was forked."""
        self._stops = []

    @contextmanager
    def using(self, stop: Stop) -> Iterator[None]:
        """Have `end` set STOP while the block runs.

        Raises:
            UsageError: The engine has ended.
        """
        stops = self._stops
        stops.append(stop)
        try:
            self.check()
            yield
        finally:
            stops.remove(stop)

    def check(self) -> None:
        """Raise `UsageError` if the engine has ended."""
        if self._has_ended:
            raise UsageError(f"{self._reference} was unloaded.", f"Type: %llm load {self._reference}")

    def end(self) -> None:
        """Stop every use; again is no error."""
        self._has_ended = True
        for stop in tuple(self._stops):
            stop.set()
