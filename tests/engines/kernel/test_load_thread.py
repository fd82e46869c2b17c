import threading

from localllm_magics.engines.kernel.load_thread import LoadThread
from tests.forking import in_forked_process


def kept_thread(load_thread: LoadThread) -> threading.Thread:
    is_kept = threading.Event()

    def load() -> None:
        load_thread.keep()
        is_kept.set()
        load_thread.wait()

    thread = threading.Thread(target=load, name="a-load", daemon=True)
    thread.start()
    is_kept.wait()
    return thread


def test_it_stays_until_the_model_is_unloaded() -> None:
    load_thread = LoadThread()
    thread = kept_thread(load_thread)
    is_there = thread.is_alive()

    load_thread.end()
    thread.join()
    load_thread.end()

    assert (is_there, thread.name) == (True, "a-load-kept")


def test_where_no_thread_is_kept_nothing_is_waited_for() -> None:
    LoadThread().end()


def test_a_forked_process_waits_for_no_thread_of_the_other() -> None:
    load_thread = LoadThread()
    thread = kept_thread(load_thread)

    def ends() -> bool:
        load_thread.end()
        return True

    assert in_forked_process(ends)
    load_thread.end()
    thread.join()
