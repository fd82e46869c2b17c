"""`%llm help`: the commands, and the options of one."""

import difflib
from collections.abc import Mapping

from localllm_magics.core.errors import BadOption
from localllm_magics.core.table import Table
from localllm_magics.notebook.commands.command import Command

_NOTE = "A cell asks with %%llm [MODEL] [options] above its prompt; %llm help ask has the options."


def new_help(commands: Mapping[str, Command]) -> Command:
    """The command that explains COMMANDS."""
    return Command(
        name="help",
        words="[COMMAND]",
        completes=lambda _word, _session: commands,
        run=lambda _notebook, parsed: _help(commands, *parsed.words),
        help="show the commands, or the options of one",
    )


def find(name: str, commands: Mapping[str, Command], otherwise: str) -> Command:
    """The command called NAME.

    Raises:
        BadOption: There is none; the hint is the nearest name, else OTHERWISE.
    """
    if name in commands:
        return commands[name]
    nearest = difflib.get_close_matches(name, commands, 1)
    raise BadOption(f"There is no command %llm {name}.", f"Did you mean %llm {nearest[0]}?" if nearest else otherwise)


def _help(commands: Mapping[str, Command], name: str = "") -> Table:
    if name:
        command = find(name, commands, "To list all commands, type: %llm help")
        rows = tuple((option.usage, option.help) for option in command.options)
        return Table(headers=("Option", "Meaning"), rows=rows, title=command.usage, notes=(f"{command.help}.",))
    rows = tuple((command.usage, command.help) for command in commands.values())
    return Table(headers=("Command", "What it does"), rows=rows, notes=(_NOTE,))
