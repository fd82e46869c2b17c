"""A generation in a worker thread, seen as a stream of events."""

import threading
from collections.abc import Callable, Iterator
from typing import get_args

from localllm_magics.core.completion import Completion, FinishReason
from localllm_magics.core.errors import GenerationFailed, LocalLLMError
from localllm_magics.core.events import Done, Event, Failed, Pending, ProgressEvent
from localllm_magics.core.exhausted import to_setup_error
from localllm_magics.core.fork import repair_after_fork
from localllm_magics.core.generation import Generation
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.background import require_room_for_thread
from localllm_magics.engines.base import Engine

_PROGRESS = get_args(ProgressEvent)
_REASONS = ("stop", "length", "stopped")
_TICK = 0.1  # seconds; on Windows a wait sees an interrupt only when it ends


def running_streams() -> tuple["Stream", ...]:
    """The generations of this process that have not ended, oldest first."""
    workers = [thread for thread in threading.enumerate() if isinstance(thread, _Worker)]
    return tuple(worker.stream for worker in workers if worker.stream.is_running)


class Stream:
    """The events of one generation; iterate over it as often as you like.

    The engine runs in a thread of its own, so the main thread sees an interrupt
    at once, and nobody who watches can slow the engine down. Every stream ends
    with exactly one terminal event. As a context manager it stops the
    generation at the end of the block and waits until the worker is gone.

    Args:
        engine: What answers.
        generation: What is asked, and the sum of what comes.
        at_end: Called when the engine does no more for it.
    """

    def __init__(self, engine: Engine, generation: Generation, at_end: Callable[[], None] = lambda: None) -> None:
        self.generation = generation
        generation.model = engine.status().model
        self._engine = engine
        self._at_end = at_end
        self._stop = Stop()
        self._progress = engine.stream(generation, self._stop)
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._worker = _Worker(self, self._work)
        self._iterator: Iterator[Event] | None = None
        self._emit(Pending())
        repair_after_fork(self)
        try:
            require_room_for_thread()
            self._worker.start()
        except BaseException:
            # Nobody will hold this stream; an interrupt finds the worker running already, another error does not.
            self._stop.set()
            if self._worker.ident is not None:
                self.wait()  # pragma: no cover - no test can time an interrupt into this line
            raise

    def __repr__(self) -> str:
        return f"<Stream of {self.generation!r}>"

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """All events from the first on, waiting for those to come; an interrupt in the wait stops the generation."""
        events: list[Event] = []
        position = 0
        while not (events and isinstance(events[-1], Done | Failed)):
            try:
                events = self._news(position)
            except BaseException:
                self.stop()
                raise
            yield from events
            position += len(events)

    def __next__(self) -> Event:
        """The next event that `next` has not given yet, waiting for it."""
        if self._iterator is None:
            self._iterator = iter(self)
        return next(self._iterator)

    @property
    def request(self) -> Request:
        """What is asked."""
        return self.generation.request

    @property
    def is_running(self) -> bool:
        """Whether the terminal event is still to come."""
        return not self._ended.is_set()

    def since(self, position: int) -> list[Event]:
        """The events from POSITION on that are there now."""
        return self._events[position:]

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the terminal event, at most SECONDS; whether it came."""
        if seconds is not None:
            return self._ended.wait(seconds)
        while not self._ended.wait(_TICK):
            pass
        return True

    def stop(self) -> None:
        """Ask the engine to stop; the terminal event follows soon."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and wait until the worker is gone."""
        self._stop.set()
        while self._worker.is_alive():
            self._worker.join(_TICK)

    def after_fork(self) -> None:
        """End it, for its worker and its engine's work are not in this process."""
        self._stop, self._changed, self._ended = Stop(), threading.Condition(), threading.Event()
        if self.generation.completion is None:
            self._end("error", GenerationFailed("The answer is made in the process that was forked.", "Ask again."))
        self._ended.set()

    def completion(self) -> Completion:
        """Wait for the end.

        Raises:
            LocalLLMError: The generation failed.
        """
        self.wait()
        if self.generation.error is not None:
            self.generation.error.partial_text = self.generation.text
            raise self.generation.error
        assert self.generation.completion is not None  # noqa: S101 - every terminal event has one
        return self.generation.completion

    def _news(self, position: int) -> list[Event]:
        """The events from POSITION on, at least one."""
        with self._changed:
            while position == len(self._events):
                self._changed.wait(_TICK)
            return self.since(position)

    def _emit(self, event: Event) -> None:
        with self._changed:
            self.generation.feed(event)
            self._events.append(event)
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            reason, error = self._answer(), None
        except Stopped:
            reason, error = "stopped", None
        except LocalLLMError as exc:
            reason, error = "error", exc
        except BaseException as exc:  # noqa: BLE001 - whoever waits must get a terminal event, whatever happened
            hint = "Please report this, with the output of %llm doctor."
            error = to_setup_error(exc) or GenerationFailed(f"The engine failed: {type(exc).__name__}: {exc}", hint)
            error.__cause__ = exc
            reason = "error"
        if error is not None and self._stop.is_set():  # what fails because it was stopped is no failure
            reason, error = "stopped", None
        self._end(reason, error)

    def _end(self, reason: FinishReason, error: LocalLLMError | None) -> None:
        self._at_end()
        completion = self.generation.to_completion(reason, error)
        self._emit(Done(completion) if error is None else Failed(error, completion))
        self._ended.set()

    def _answer(self) -> FinishReason:
        """Emit the engine's events, and return why they ended."""
        events = self._progress
        try:
            while True:
                event = next(events)
                if not isinstance(event, _PROGRESS):
                    raise GenerationFailed(f"The engine yielded {event!r}, which only its stream may.")
                self._emit(event)
        except StopIteration as end:
            if end.value not in _REASONS:
                raise GenerationFailed("The engine ended without a finish reason.") from None
            reason: FinishReason = end.value
            return reason
        finally:
            events.close()
            self.generation.notices.extend(self._engine.status().notices)


class _Worker(threading.Thread):
    """The thread of STREAM."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        super().__init__(target=work, name=f"localllm-{stream.request.id}", daemon=True)
        self.stream = stream
