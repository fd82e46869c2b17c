"""`%llm config`: the settings."""

from localllm_magics.notebook.commands.command import Command

COMMAND = Command(name="config", run=lambda notebook, _parsed: notebook.config.to_table(), help="show the settings")
