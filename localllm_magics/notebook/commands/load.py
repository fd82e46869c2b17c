"""`%llm load`: a model brought into memory, with a bar."""

from localllm_magics.core.table import Table
from localllm_magics.notebook.card.load_bar import LoadBar
from localllm_magics.notebook.commands.command import Command, Notebook
from localllm_magics.notebook.commands.status import status_table
from localllm_magics.notebook.options import LOADING
from localllm_magics.notebook.parser import Parsed
from localllm_magics.notebook.question import to_load_options
from localllm_magics.notebook.references import matching_references


def _load(notebook: Notebook, parsed: Parsed) -> Table:
    use = notebook.session.use(parsed.words[0], to_load_options(parsed))
    bar = LoadBar(notebook.live_shell, use.model)
    try:
        use.model.load(bar.show)
    except BaseException as exc:
        bar.end("stopped" if isinstance(exc, KeyboardInterrupt) else "failed")
        use.undo()
        raise
    use.keep()
    bar.end("loaded")
    for notice in use.notices:
        notebook.write(notice)
    return status_table(notebook.session)


COMMAND = Command(
    name="load",
    words="REF",
    needs="a model",
    options=LOADING,
    completes=matching_references,
    run=_load,
    help="load a model and make it the current one",
    hint="Type: %llm load demo, or %llm models for a list.",
)
