"""The output of one generation: shown before any work, updated, and always ended."""

from localllm_magics.core.completion import Completion
from localllm_magics.core.generation import Generation
from localllm_magics.engines.stream import Stream
from localllm_magics.notebook.card.surface import Surface
from localllm_magics.notebook.interrupts import uninterrupted

_TICK = 0.1  # seconds between two looks at the generation; its end is noticed immediately


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

    def __repr__(self) -> str:
        return f"<Card of {self._generation!r}>"

    def open(self) -> None:
        """Show that something will come, before any work is done for it."""
        self._surface.draw(self._generation)

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
                    self._surface.draw(self._generation)
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
        with uninterrupted():
            self._surface.finish(completion, spell_error=self._shows_error)
            self.completion = completion
