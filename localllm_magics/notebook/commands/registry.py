"""The commands of `%llm`: a new one is a file beside this one, and a name in the tuple below."""

from localllm_magics.notebook.commands import ask, config, connect, doctor, load, models, pull, status, stop, unload
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.commands.help import new_help
from localllm_magics.notebook.commands.instead import unknown_command
from localllm_magics.notebook.options import HELP

_MODULES = (ask, models, connect, pull, load, unload, status, stop, doctor, config)
COMMANDS: dict[str, Command] = {module.COMMAND.name: module.COMMAND for module in _MODULES}
COMMANDS["help"] = new_help(COMMANDS)


def find_command(line: str) -> tuple[Command, str]:
    """The command that LINE, the part after `%llm`, begins with, and what follows its name.

    Raises:
        BadOption: There is no such command.
    """
    name, _, rest = line.strip().partition(" ")
    if name in ("", *HELP.flags):
        return COMMANDS["help"], rest
    if name not in COMMANDS:
        raise unknown_command(line.strip(), COMMANDS)
    return COMMANDS[name], rest
