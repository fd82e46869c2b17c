"""What a forked process repairs: it has one thread, and a lock that another one held would stay locked for ever."""

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that belongs to threads, or to the process that made it."""

    def after_fork(self) -> None:
        """Let go of both; called in the new process, where no other thread runs."""


_items: WeakSet[Forkable] = WeakSet()
_locks: WeakSet[threading.Lock] = WeakSet()


def repair_after_fork(item: Forkable) -> None:
    """Call ITEM's `after_fork` in each process that is forked from this one."""
    _items.add(item)


def new_lock() -> threading.Lock:
    """A lock for short moments, which is free in a forked process whoever held it."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _repair() -> None:
    for lock in tuple(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined] # noqa: SLF001 - what the standard library does with its own
    for item in tuple(_items):
        item.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_repair)
