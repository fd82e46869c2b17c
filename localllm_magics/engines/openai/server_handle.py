"""A handle on the server of an engine: one that runs, or one to be started."""

from collections.abc import Generator
from dataclasses import replace
from typing import Protocol

from localllm_magics.core.errors import BadOption
from localllm_magics.core.events import Loading
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.server.connection import Connection


class ServerHandle(Protocol):
    """A server, running or to be started."""

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:
        """Have it run with OPTIONS, and return a connection to it.

        Yields:
            `Loading` events while it starts.

        Raises:
            LocalLLMError: It cannot be started, or not with OPTIONS.
            Stopped: STOP was set.
        """

    @property
    def has_exited(self) -> bool:
        """Whether it was started through this handle and has exited since."""

    def with_options(self, options: LoadOptions) -> "ServerHandle":
        """A handle for another engine with OPTIONS, which starts and closes by itself.

        Raises:
            BadOption: The server cannot be started with them.
        """

    def close(self) -> None:
        """End it if it was started for this; again is no error."""


class ExternalServer:
    """A server that somebody else has started."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:  # noqa: ARG002 - the seam's
        """Return the connection; there is nothing to start."""
        yield from ()
        self.with_options(options)
        return self._connection

    @property
    def has_exited(self) -> bool:
        """Not known before a request fails."""
        return False

    def with_options(self, options: LoadOptions) -> "ExternalServer":
        """This handle: there is nothing to start or close."""
        if replace(options, force=None) != LoadOptions():
            raise BadOption(
                f"{self._connection.address.url} was started with load options of its own.",
                f"Leave {options} out, or start the server with others.",
            )
        return self

    def close(self) -> None:
        """Leave it running."""
