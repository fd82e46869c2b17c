"""The progress of a load, in one display."""

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.events import Loading
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from localllm_magics.model import Model
from localllm_magics.notebook.card.surface import DisplaySurface
from localllm_magics.notebook.interrupts import uninterrupted


class LoadBar:
    """Shows the loading of MODEL; nothing where it is loaded already, or there is no shell."""

    def __init__(self, shell: InteractiveShell | None, model: Model) -> None:
        self._generation = Generation(Request(messages=()), model.status().model)
        self._reference = model.info.reference
        self._surface = None if shell is None else DisplaySurface(shell)
        self._is_shown = False

    def show(self, event: Loading) -> None:
        """Show EVENT."""
        if self._surface is None:
            return
        with uninterrupted():
            self._generation.feed(event)
            self._surface.show(Progress.of(self._generation), "")
            self._is_shown = True

    def end(self, outcome: str) -> None:
        """Show OUTCOME, a word."""
        if self._surface is not None and self._is_shown:
            self._surface.end(f"{self._reference} · {outcome}")
