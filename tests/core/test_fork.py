import os
import sys

import pytest

from localllm_magics.core.fork import new_lock, repair_after_fork
from tests.forking import in_forked_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


class Item:
    def __init__(self) -> None:
        self.repaired_by = 0

    def after_fork(self) -> None:
        self.repaired_by = os.getpid()


def test_a_lock_that_was_held_is_free_in_a_forked_process_only() -> None:
    lock = new_lock()
    with lock:
        is_free = in_forked_process(lambda: lock.acquire(blocking=False))

        assert is_free
        assert lock.locked()


def test_an_item_is_repaired_in_a_forked_process_only() -> None:
    item = Item()
    repair_after_fork(item)

    is_repaired = in_forked_process(lambda: item.repaired_by == os.getpid())

    assert is_repaired
    assert item.repaired_by == 0


def test_nothing_is_kept_for_the_sake_of_a_fork() -> None:
    item = Item()
    count = sys.getrefcount(item)
    repair_after_fork(item)

    assert sys.getrefcount(item) == count
