"""`%llm load`: a model brought into memory, with a bar."""

from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.table import Table
from localllm_magics.notebook.card.load_bar import LoadBar
from localllm_magics.notebook.commands.command import Command, Notebook
from localllm_magics.notebook.commands.status import status_table
from localllm_magics.notebook.options import LOADING
from localllm_magics.notebook.parser import Parsed
from localllm_magics.notebook.question import to_load_options
from localllm_magics.notebook.references import matching_references
from localllm_magics.session import changed_options


def _load(notebook: Notebook, parsed: Parsed) -> Table:
    session, options = notebook.session, to_load_options(parsed)
    model = session.use(parsed.words[0], options)
    shell, outcome = notebook.live_shell, "failed"
    bar = None if shell is None else LoadBar(shell, model)
    try:
        model.load(None if bar is None else bar.show)
        outcome = "loaded"
    except LocalLLMError as exc:
        session.drop(model, exc)
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        if bar is not None:
            bar.end(outcome)
    if session.is_reloading(model):
        notebook.write(f"Reloaded with {changed_options(options)}.")
    return status_table(session)


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
