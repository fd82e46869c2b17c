"""`%llm` and `%%llm` for one shell: from a line and a cell to a question or a command."""

from collections.abc import Mapping
from dataclasses import replace

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import BadOption, LocalLLMError
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.sanitizer.markdown import strip_control
from localllm_magics.notebook.ask import Asker, Question, shortened, to_question
from localllm_magics.notebook.card.load_bar import LoadBar
from localllm_magics.notebook.card.surface import CellSurface, DisplaySurface, FinalSurface, Surface, TerminalSurface
from localllm_magics.notebook.commands.registry import is_not_to_raise, run_command
from localllm_magics.notebook.config import SERVER_SETTINGS, LocalLLM
from localllm_magics.notebook.dry_run import to_bundle
from localllm_magics.notebook.options import ASKING, asks_not_to_raise, parse
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
        try:
            if cell is None:
                return run_command(self, line)
            self._run_cell(line, cell)
        except LocalLLMError as exc:
            if not (asks_not_to_raise(line, ASKING) if cell is not None else is_not_to_raise(line)):
                raise
            surface = self._surface(in_background=False, owns_cell=cell is not None and self._owns_cell)
            self._asker.refuse(exc, cell or line, surface, self.config.default_model)
        except KeyboardInterrupt as exc:
            raise shortened(exc, "stopped.") from None
        return None

    def answer(self, question: Question, *, dry_run: bool, owns_cell: bool = False) -> Completion | Preview | None:
        """Show the answer to QUESTION, or what would be asked."""
        default = self.config.default_model
        if dry_run:
            preview = self._asker.preview(question, default)
            self._shell.display_pub.publish(to_bundle(preview), metadata={})
            return preview
        if question.in_background and self._is_executed:
            question = replace(question, in_background=False)
        surface = self._surface(in_background=question.in_background, owns_cell=owns_cell)
        return self._asker.ask(question, surface, default)

    def load(self, reference: str | None, options: LoadOptions) -> None:
        """Bring a model into memory, showing how far it is."""
        use = self.session.use(reference, options, self.config.default_model)
        is_shown = self._is_kernel and self.config.is_streaming
        bar = LoadBar(self._shell, use.model) if is_shown else None
        try:
            use.model.load(None if bar is None else bar.show)
        except BaseException as exc:
            if bar is not None:
                bar.end("stopped" if isinstance(exc, KeyboardInterrupt) else "failed")
            use.undo()
            raise
        use.keep()
        if bar is not None:
            bar.end("loaded")
        for notice in use.notices:
            self.say(notice)

    def pull(self, reference: str) -> None:
        """Have a server get a model, showing how far it is."""
        from localllm_magics.notebook.commands.pull import pull_model  # it brings httpcore

        is_shown = self._is_kernel and self.config.is_streaming
        self.say(pull_model(reference, self.session.settings, self._shell if is_shown else None))

    def say(self, text: str) -> None:
        """Show one sentence."""
        print(strip_control(text))  # noqa: T201 - the magic's output

    def _run_cell(self, line: str, cell: str) -> None:
        parsed = parse(line, ASKING)
        if len(parsed.words) > 1:
            raise BadOption(f"{parsed.words[1]!r} is not an option.", "The prompt goes below the line with %%llm.")
        prompt = cell.removesuffix("\n") if "raw" in parsed.values else cell.strip()
        question = to_question(parsed, prompt, *parsed.words)
        self.answer(question, dry_run="dry_run" in parsed.values, owns_cell=self._owns_cell)

    def _surface(self, *, in_background: bool, owns_cell: bool) -> Surface:
        if not self.config.is_streaming:
            return FinalSurface(self._shell)
        if not self._is_kernel:
            return FinalSurface(self._shell) if in_background else TerminalSurface()
        if owns_cell and not in_background:
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
