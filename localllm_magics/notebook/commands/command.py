"""What a command of `%llm` is."""

from collections.abc import Callable
from dataclasses import dataclass

from localllm_magics.catalog.reference import is_path_like
from localllm_magics.core.errors import BadOption
from localllm_magics.core.table import Table
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.options import HELP, Completes, Option
from localllm_magics.notebook.parser import Parsed, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: how it is typed, what it is for, and what it does.

    Args:
        words: Names of the words that it takes, in brackets where they can be left out.
        needs: What its first word is, for the error without one.
        hint: What to type instead of a line with too few or too many words; by default the usage.
        takes_text: The rest of the line is text.
        completes: What Tab offers for its words.
        magic: The magic that runs it.
    """

    name: str
    help: str
    run: Callable[[Notebook, Parsed], object]
    words: str = ""
    needs: str = ""
    hint: str = ""
    options: tuple[Option, ...] = ()
    takes_text: bool = False
    completes: Completes = lambda _word, _session: ()
    magic: str = "%llm"

    @property
    def usage(self) -> str:
        """How it is typed."""
        options = "[options]" if self.options else ""
        return " ".join(filter(None, (self.magic, self.name, options, self.words)))

    @property
    def all_options(self) -> tuple[Option, ...]:
        """Its own options, and the one that every command has."""
        return (*self.options, HELP)

    def to_table(self) -> Table:
        """What it is for, and its options."""
        rows = tuple((option.usage, option.help) for option in self.all_options)
        return Table(headers=("Option", "Meaning"), rows=rows, title=self.usage, notes=(f"{self.help}.",))

    def parse(self, line: str) -> Parsed:
        """Read LINE, the part after the name."""
        return parse(line, self.all_options, takes_text=self.takes_text)

    def check(self, parsed: Parsed) -> None:
        """Check that the command can run with PARSED.

        Raises:
            BadOption: An option is wrong, or there are too many words, or too few.
        """
        if parsed.error is not None:
            raise parsed.error
        typed, hint = f"{self.magic} {self.name}".strip(), self.hint or f"Type: {self.usage}"
        most = len(self.words.split())
        if len(parsed.words) > most:
            if parsed.quoting_hint:
                hint = parsed.quoting_hint
            elif most and is_path_like(parsed.words[-1]):
                hint = f'A path with blanks goes into quotation marks: "{" ".join(parsed.words)}"'
            raise BadOption(f"{typed} does not take {parsed.words[most]!r}.", hint)
        if self.needs and not parsed.words:
            raise BadOption(f"{typed} needs {self.needs}.", hint)
