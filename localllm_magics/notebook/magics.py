"""`%llm` and `%%llm` for one shell: from a line and a cell to a command."""

from dataclasses import replace

from IPython.core.magic import no_var_expand

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.exhausted import in_words
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.ask import CELL
from localllm_magics.notebook.commands.help import list_commands
from localllm_magics.notebook.commands.instead import check_cell, check_words
from localllm_magics.notebook.commands.registry import COMMANDS, find_command
from localllm_magics.notebook.interrupts import shorten

NAMES = ("llm", "localllm")


class Magics:
    """The magics of one shell."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    @no_var_expand  # IPython would replace {x} and $x in a prompt
    def run(self, line: str, cell: str | None = None) -> object:
        """Ask a local model: `%%llm [MODEL] [options]`, prompt below; `%llm help` lists the commands."""
        command, rest = find_command(line) if cell is None else (CELL, line)
        parsed = command.parse(rest)
        if "help" in parsed.values:
            self._notebook.show(command.to_table())
            return None
        if cell is not None:
            parsed = replace(parsed, text=cell)
        try:
            with in_words():
                check_words(parsed)
                if cell is not None:
                    check_cell(line, parsed, cell, COMMANDS)
                command.check(parsed)
                return command.run(self._notebook, parsed)
        except LocalLLMError as exc:
            if "no_raise" not in parsed.values:
                raise
            self._notebook.refuse(exc)
            return None
        except KeyboardInterrupt as exc:
            shorten(exc, "stopped.")
            raise


# What %llm? and %%llm? show.
Magics.run.__doc__ = f"{Magics.run.__doc__}\n\n{list_commands(COMMANDS)}\n\n{CELL.to_table()}"
