import ctypes
import sys
import threading

import pytest

from localllm_magics.engines.kernel.machine import private_memory, return_freed_memory
from localllm_magics.engines.kernel.memory_pool import empty_pool_of_thread

_SIZE, _COUNT = 60_000, 500  # 30 MB, in blocks that are not mapped each on its own


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such pools")
def test_what_a_thread_has_freed_at_the_end_of_its_pool_comes_back() -> None:
    libc = ctypes.PyDLL(None)
    malloc = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("malloc", libc))
    free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("free", libc))
    held = []

    def work() -> None:
        held.append(private_memory())
        blocks = [malloc(_SIZE) for _ in range(_COUNT)]
        for block in blocks:
            ctypes.memset(block, 1, _SIZE)
        for block in blocks:
            free(block)
        return_freed_memory()
        empty_pool_of_thread()
        held.append(private_memory())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert held[1] - held[0] < 4_000_000
