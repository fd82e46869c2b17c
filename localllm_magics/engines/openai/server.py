"""Where the server of an engine comes from."""

from collections.abc import Generator
from typing import Protocol

from localllm_magics.core.errors import BadOption
from localllm_magics.core.events import Loading
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.server.connection import Connection


class Server(Protocol):
    """A server, running or to be started."""

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:
        """Have it run with OPTIONS, and return the way to it.

        Yields:
            `Loading` events while it starts.

        Raises:
            LocalLLMError: It cannot be started, or not with OPTIONS.
            Stopped: STOP was set.
        """

    @property
    def has_ended(self) -> bool:
        """Whether it was started here and has ended since."""

    def another(self, options: LoadOptions) -> "Server":
        """The same for another engine with OPTIONS, which starts and closes by itself.

        Raises:
            BadOption: It cannot be started with them.
        """

    def close(self) -> None:
        """Give back what was started; again is no error."""


class RunningServer:
    """A server that somebody else has started.

    Args:
        connection: The way to it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connect(self, options: LoadOptions, stop: Stop) -> Generator[Loading, None, Connection]:  # noqa: ARG002 - the seam's
        """Return the way to it; there is nothing to start."""
        yield from ()
        self.another(options)
        return self._connection

    @property
    def has_ended(self) -> bool:
        """Not known before it is asked."""
        return False

    def another(self, options: LoadOptions) -> "RunningServer":
        """This one: nothing is started, and nothing closed."""
        if options != LoadOptions():
            raise BadOption(
                f"{self._connection.address.url} was started with its own context and layers.",
                "Leave --ctx, --gpu-layers and --threads out, or start the server with others.",
            )
        return self

    def close(self) -> None:
        """Leave it running."""
