"""The output of one generation: shown at once, kept up to date, and always ended."""

import time
from collections.abc import Callable

from localllm_magics.core.completion import Completion, ModelUsed
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Event, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import Request
from localllm_magics.core.sanitizer.markdown import strip_control
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.status_line import LiveStatus
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import uninterrupted

TICK = 0.1
"""Seconds between two looks at a generation; ends are noticed at once. Each look takes a core from the model."""
_STATUS_SECONDS = 0.25


class Card:
    """Shows one generation on a surface, from the first moment to a terminal state.

    Args:
        surface: Where it is drawn.
        request: What is asked; its id is the card's.
        model: The model as far as known, asked at every look.
        shows_error: Whether the final output spells the error out; without it somebody else does.
    """

    def __init__(
        self, surface: Surface, request: Request, model: Callable[[], ModelUsed], *, shows_error: bool = False
    ) -> None:
        self._surface = surface
        self.completion: Completion | None = None
        self._request = request
        self._model = model
        self._shows_error = shows_error
        self._generation = Generation(request.id)
        self._status = LiveStatus(self._generation, model)
        self._position = 0
        self._unshown: list[str] = []
        self._status_at = time.perf_counter()

    def __repr__(self) -> str:
        return f"<Card of {self._generation!r}>"

    def open(self) -> None:
        """Show that something will come, before any work is done for it."""
        self._surface.show(self._status, "")

    def follow(self, stream: Stream) -> Completion:
        """Show STREAM until it ends; its final output is published once.

        Raises:
            KeyboardInterrupt: Somebody interrupted; the generation was stopped and the card is complete.
        """
        interrupt: KeyboardInterrupt | None = None
        while self.completion is None:
            try:
                ended = stream.wait(TICK)
                with uninterrupted():
                    self._take(stream)
                if ended and stream.generation.completion is not None:
                    self.finish(stream.generation.completion)
                else:
                    self._draw()
            except KeyboardInterrupt as exc:
                interrupt = exc
                stream.stop()
        if interrupt is not None:
            raise interrupt
        return self.completion

    def fail(self, error: LocalLLMError) -> Completion:
        """End the card before anything was generated."""
        completion = Recorder(self._request, self._model()).completion("error", error)
        self.finish(completion)
        return completion

    def interrupt(self) -> Completion:
        """End the card as stopped before anything was generated."""
        completion = Recorder(self._request, self._model()).completion("stopped")
        self.finish(completion)
        return completion

    def finish(self, completion: Completion) -> None:
        """Show the one output that stays."""
        self._append()
        with uninterrupted():
            self._surface.finish(completion.to_bundle(spell_error=self._shows_error), completion)
            self.completion = completion

    def _take(self, stream: Stream) -> None:
        events = stream.since(self._position)
        self._position += len(events)
        for event in events:
            self._add(event)
        self._status.look()

    def _add(self, event: Event) -> None:
        self._generation.feed(event)
        if isinstance(event, TextDelta):
            self._unshown.append(event.text)

    def _draw(self) -> None:
        self._append()
        now = time.perf_counter()
        if now - self._status_at >= _STATUS_SECONDS:
            self._status_at = now
            self._surface.show(self._status, self._generation.text)

    def _append(self) -> None:
        text = strip_control("".join(self._unshown))
        self._unshown.clear()
        if text:
            self._surface.append(text)
