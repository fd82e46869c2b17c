"""`%llm unload`: memory given back."""

from localllm_magics.core.table import to_size
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.parser import Parsed
from localllm_magics.notebook.references import loaded_references


def _unload(notebook: Notebook, parsed: Parsed) -> None:
    before = notebook.session.models
    names = notebook.session.unload(*parsed.words)
    notebook.write(f"Unloaded {', '.join(names)}." if names else "No model is loaded.")
    unreturned = sum(model.status().unreturned_bytes for model in before if model.is_unloaded)
    if unreturned:
        notebook.write(f"Of its memory, {to_size(unreturned)} did not come back; a restart of the kernel frees it.")


COMMAND = Command(
    name="unload", words="[REF]", completes=loaded_references, run=_unload, help="give a model's memory back, or all"
)
