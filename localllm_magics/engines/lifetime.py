"""What runs on an engine, until the engine ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from localllm_magics.core.errors import UsageError
from localllm_magics.core.stop import Stop


class Lifetime:
    """Stops what runs on an engine when it ends, and lets nothing begin after that.

    Args:
        reference: The model, for the words of the error.
    """

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._running: list[Stop] = []
        self._has_ended = False

    @contextmanager
    def using(self, stop: Stop) -> Iterator[None]:
        """Have `end` set STOP while the block runs.

        Raises:
            UsageError: The end has come.
        """
        self._running.append(stop)
        try:
            self.check()
            yield
        finally:
            self._running.remove(stop)

    def check(self) -> None:
        """Raise `UsageError` if the end has come."""
        if self._has_ended:
            raise UsageError(f"{self._reference} was unloaded.", f"Type: %llm load {self._reference}")

    def end(self) -> None:
        """Stop what runs; again is no error."""
        self._has_ended = True
        for stop in tuple(self._running):
            stop.set()
