import signal
import sys
import threading
from collections.abc import Generator

import pytest

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.events import ProgressEvent, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.stop import Stop
from localllm_magics.testing import ScriptedEngine
from tests.engines.generations import stream_of
from tests.engines.test_stream import REQUEST, workers
from tests.server.waiting import wait_until


def test_an_interrupt_while_waiting_stops_the_generation() -> None:
    stream = stream_of(ScriptedEngine("So it is.", hangs_after=1), REQUEST)
    has_text = threading.Event()
    watcher = threading.get_ident()

    def interrupt() -> None:
        has_text.wait()
        wait_until(lambda: sys._current_frames()[watcher].f_code.co_name == "wait", "waiting")  # noqa: SLF001
        signal.raise_signal(signal.SIGINT)

    def watch() -> None:
        for event in stream:
            if isinstance(event, TextDelta):
                has_text.set()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        watch()
    assert stream.completion().finish_reason == "stopped"


class InterruptingEngine(ScriptedEngine):
    """Interrupts the main thread as soon as its worker runs."""

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        signal.raise_signal(signal.SIGINT)
        stop.wait(None)
        yield from super().stream(generation, stop)
        return "stop"


def test_an_interrupt_while_the_worker_starts_leaves_nothing_behind() -> None:
    with pytest.raises(KeyboardInterrupt), stream_of(InterruptingEngine("one"), REQUEST) as stream:
        stream.wait()

    assert workers() == []
