"""What shows the output of a shell: a front end with cells, a program that runs a notebook, or a terminal."""

from collections.abc import Mapping

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.card.surface import DisplaySurface, Surface, TextSurface
from localllm_magics.notebook.config import LocalLLM


class FrontEnd:
    """What shows the output of SHELL, as far as CONFIG lets it."""

    def __init__(self, shell: InteractiveShell, config: LocalLLM) -> None:
        self._shell = shell
        self._config = config

    @property
    def is_program(self) -> bool:
        """Whether a program runs the notebook: it takes a cell's output only until the cell has ended."""
        return self._execution.get("allow_stdin") is False

    def new_surface(self, *, in_background: bool) -> Surface:
        """Where a card is drawn."""
        if self._config.is_streaming and not self._is_live and not in_background:
            return TextSurface(self._shell)
        return DisplaySurface(Display(self._shell, is_live=self._is_live))

    def new_display(self) -> Display:
        """A display for what takes time; it shows nothing where a display cannot be updated."""
        return Display(self._shell if self._is_live else None)

    @property
    def _is_live(self) -> bool:
        """Whether a display can be updated."""
        return self._is_kernel and self._config.is_streaming and self._config.card == "markdown"

    @property
    def _is_kernel(self) -> bool:
        """Whether a front end shows displays; a terminal prints."""
        return getattr(self._shell, "kernel", None) is not None

    @property
    def _execution(self) -> Mapping[str, object]:
        """What the front end has sent to run this cell."""
        if not self._is_kernel:
            return {}
        content: Mapping[str, object] = self._shell.get_parent().get("content", {})  # type: ignore[attr-defined] # a kernel's shell has it
        return content
