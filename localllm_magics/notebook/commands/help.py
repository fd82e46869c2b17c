"""`%llm help`: the commands, and the options of one."""

from collections.abc import Mapping

from localllm_magics.core.errors import BadOption
from localllm_magics.core.table import Table
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.commands.instead import nearest_command

_NOTE = "A cell asks with %%llm [MODEL] [options] above its prompt; %%llm --help has the options."


def new_help(commands: Mapping[str, Command]) -> Command:
    """The command that explains COMMANDS."""
    return Command(
        name="help",
        words="[COMMAND]",
        completes=lambda _word, _session: commands,
        run=lambda _notebook, parsed: _explain(commands, *parsed.words) if parsed.words else list_commands(commands),
        help="show the commands, or the options of one",
    )


def list_commands(commands: Mapping[str, Command]) -> Table:
    """COMMANDS, and what they are for."""
    rows = tuple((command.usage, command.help) for command in commands.values())
    return Table(headers=("Command", "What it does"), rows=rows, notes=(_NOTE,))


def _explain(commands: Mapping[str, Command], name: str) -> Table:
    if name not in commands:
        near = nearest_command(name, commands)
        hint = f"Did you mean %llm {near}?" if near else "To list all commands, type: %llm help"
        raise BadOption(f"There is no command %llm {name}.", hint)
    return commands[name].to_table()
