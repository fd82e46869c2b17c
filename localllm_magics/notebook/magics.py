"""`%llm` and `%%llm` for one shell: from a line and a cell to a question or a command."""

from collections.abc import Mapping
from dataclasses import replace

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.engines.base import Preview
from localllm_magics.notebook.ask import Asker
from localllm_magics.notebook.card.surface import CellSurface, DisplaySurface, FinalSurface, Surface, TerminalSurface
from localllm_magics.notebook.commands.ask import CELL
from localllm_magics.notebook.commands.registry import find_command
from localllm_magics.notebook.config import SERVER_SETTINGS, LocalLLM
from localllm_magics.notebook.dry_run import to_bundle
from localllm_magics.notebook.interrupts import shorten
from localllm_magics.notebook.question import Question
from localllm_magics.session import Session

NAMES = ("llm", "localllm")


class Magics:
    """The magics of one shell.

    Args:
        shell: Where they are typed.
        session: What is loaded in this process.
        config: The user's settings.
    """

    def __init__(self, shell: InteractiveShell, session: Session, config: LocalLLM) -> None:
        self.session = session
        self.config = config
        config.observe(self._apply_settings, names=list(SERVER_SETTINGS))
        self._apply_settings()
        self._shell = shell
        self._asker = Asker(shell, session)

    def _apply_settings(self, _change: object = None) -> None:
        self.session.settings = self.config.server_settings

    @no_var_expand  # IPython would replace {x} and $x in a prompt
    def run(self, line: str, cell: str | None = None) -> object:
        """Ask a local model: `%%llm [MODEL] [options]`, prompt below; `%llm help` lists the commands."""
        command, rest = find_command(line) if cell is None else (CELL, line)
        parsed = command.parse(rest)
        if cell is not None:
            parsed = replace(parsed, text=cell)
        try:
            command.check(parsed)
            return command.run(self, parsed)
        except LocalLLMError as exc:
            if "no_raise" not in parsed.values:
                raise
            surface = self._surface(in_background=False, is_cell=cell is not None)
            self._asker.refuse(exc, surface, self.config.default_model)
            return None
        except KeyboardInterrupt as exc:
            shorten(exc, "stopped.")
            raise

    def answer(self, question: Question, *, is_cell: bool = False) -> Completion | Preview | None:
        """Show the answer to QUESTION, or what would be sent."""
        default = self.config.default_model
        if question.is_dry_run:
            preview = self._asker.preview(question, default)
            self._shell.display_pub.publish(to_bundle(preview), metadata={})
            return preview
        if question.in_background and self._is_executed:
            question = replace(question, in_background=False)
        surface = self._surface(in_background=question.in_background, is_cell=is_cell)
        return self._asker.ask(question, surface, default)

    @property
    def live_shell(self) -> InteractiveShell | None:
        """The shell, where a display can be updated."""
        return self._shell if self._is_kernel and self.config.is_streaming else None

    def write(self, text: str) -> None:
        """Print TEXT."""
        print(strip_control(text))  # noqa: T201 - the magic's output

    def _surface(self, *, in_background: bool, is_cell: bool) -> Surface:
        if not self.config.is_streaming:
            return FinalSurface(self._shell)
        if not self._is_kernel:
            return FinalSurface(self._shell) if in_background else TerminalSurface()
        if is_cell and self._owns_cell and not in_background:
            return CellSurface(self._shell)
        return DisplaySurface(self._shell)

    @property
    def _is_kernel(self) -> bool:
        """Whether a front end shows displays; a terminal prints."""
        return getattr(self._shell, "kernel", None) is not None

    @property
    def _owns_cell(self) -> bool:
        """Whether the cell that runs is this magic and nothing else, so that its output may be cleared."""
        return str(self._execution.get("code", "")).lstrip().startswith(tuple(f"%%{name}" for name in NAMES))

    @property
    def _is_executed(self) -> bool:
        """Whether a program runs the notebook: it takes a cell's output only until the cell has ended."""
        return self._execution.get("allow_stdin") is False

    @property
    def _execution(self) -> Mapping[str, object]:
        """What the front end has sent to run this cell."""
        if not self._is_kernel:
            return {}
        content: Mapping[str, object] = self._shell.get_parent().get("content", {})  # type: ignore[attr-defined] # a kernel's shell has it
        return content
