"""`%llm config`: the settings."""

from localllm_magics.core.table import Table
from localllm_magics.notebook.commands.command import Command, Notebook
from localllm_magics.notebook.parser import Parsed


def _config(notebook: Notebook, _parsed: Parsed) -> Table:
    return notebook.config.to_table()


COMMAND = Command(name="config", run=_config, help="show the settings")
