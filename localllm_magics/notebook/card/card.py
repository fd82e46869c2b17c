"""The output of one generation: shown before any work, updated, and always ended."""

import time

from localllm_magics.core.completion import Completion
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import uninterrupted

_TICK = 0.1  # seconds between two updates; ends are noticed immediately. Each update takes a core from the model.
_STATUS_SECONDS = 0.25


class Card:
    """Shows one generation on a surface, from the first moment to a terminal state.

    Args:
        surface: Where it is drawn.
        generation: What is shown; its id is the card's.
        shows_error: Whether the final output spells the error out; without it somebody else does.
    """

    def __init__(self, surface: Surface, generation: Generation, *, shows_error: bool = False) -> None:
        self.completion: Completion | None = None
        self._surface = surface
        self._generation = generation
        self._shows_error = shows_error
        self._shown = 0  # characters of the text
        self._status_at = time.perf_counter()

    def __repr__(self) -> str:
        return f"<Card of {self._generation!r}>"

    def open(self) -> None:
        """Show that something will come, before any work is done for it."""
        self._surface.show(Progress.of(self._generation), "")

    def follow(self, stream: Stream) -> Completion:
        """Show STREAM until it ends; its final output is published once.

        Raises:
            KeyboardInterrupt: Somebody interrupted; the generation was stopped and the card is complete.
        """
        interrupt: KeyboardInterrupt | None = None
        while self.completion is None:
            try:
                stream.wait(_TICK)
                if self._generation.completion is not None:
                    self.finish(self._generation.completion)
                else:
                    self._draw()
            except KeyboardInterrupt as exc:
                interrupt = exc
                stream.stop()
        if interrupt is not None:
            raise interrupt
        return self.completion

    def finish(self, completion: Completion) -> None:
        """Show COMPLETION, the one output that stays; again does nothing."""
        if self.completion is not None:
            return
        self._append()
        with uninterrupted():
            self._surface.finish(completion.to_bundle(spell_error=self._shows_error), completion)
            self.completion = completion

    def _draw(self) -> None:
        self._append()
        now = time.perf_counter()
        if now - self._status_at >= _STATUS_SECONDS:
            self._status_at = now
            self._surface.show(Progress.of(self._generation), self._generation.text)

    def _append(self) -> None:
        with uninterrupted():
            text = self._generation.text
            fresh, self._shown = strip_control(text[self._shown :]), len(text)
            if fresh:
                self._surface.append(fresh)
