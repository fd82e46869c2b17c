"""The way of a page's commands to the kernel.

Those that a page sends on a comm that it has opened itself, and on which the kernel never sends, are handled while a
cell runs, where the front end and ipykernel know subshells. A page without access to its kernel sends them as messages
of its widget.
"""

from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from comm import get_comm_manager

if TYPE_CHECKING:
    from comm.base_comm import BaseComm

TARGET = "localllm.picker"
"""The name under which a page opens its comm."""


class Commanded(Protocol):
    """Something that pages send commands to."""

    def receive(self, message: object) -> None:
        """Begin what MESSAGE asks for; called in any thread."""


_owners: WeakValueDictionary[str, Commanded] = WeakValueDictionary()


def listen(address: str, owner: Commanded) -> None:
    """Hand the commands for ADDRESS to OWNER, for as long as it lives."""
    _owners[address] = owner
    get_comm_manager().register_target(TARGET, _opened)


def _opened(comm: "BaseComm", _message: dict[str, Any]) -> None:
    comm.on_msg(_received)


def _received(message: dict[str, Any]) -> None:
    data = message["content"]["data"]
    owner = _owners.get(str(data.get("to"))) if isinstance(data, dict) else None
    if owner is not None:
        owner.receive(data.get("command"))
