"""`%llm stop`: the end of an answer that is generated."""

from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.parser import Parsed


def _stop(notebook: Notebook, parsed: Parsed) -> None:
    count = notebook.session.stop(*parsed.words)
    if parsed.words and not count:
        running = ", ".join(stream.request.id for stream in notebook.session.running) or "none"
        raise BadOption(f"No answer with the id {parsed.words[0]} is running.", f"Running: {running}.")
    notebook.write(f"Stopped {count} answer{'s' * (count != 1)}." if count else "Nothing is running.")


COMMAND = Command(name="stop", words="[ID]", run=_stop, help="stop an answer that is generated, or all")
