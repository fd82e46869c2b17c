"""`%llm doctor`: what is installed, and how to fix what is missing."""

from localllm_magics.core.table import Table
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.options import Option
from localllm_magics.notebook.parser import Parsed


def _doctor(notebook: Notebook, parsed: Parsed) -> Table:
    from localllm_magics.notebook.checkup import checkup, clean  # it imports the engines

    return clean() if "clean" in parsed.values else checkup(notebook.session.settings)


COMMAND = Command(
    name="doctor",
    options=(
        Option(
            flags=("--clean",),
            help="remove copied weights and old logs of llamafiles, results of probes, and the measured speed",
        ),
    ),
    run=_doctor,
    help="show what is there, and how to fix what is missing",
)
