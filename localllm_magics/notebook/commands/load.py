"""`%llm load`: a model brought into memory, with a bar."""

from localllm_magics.core.events import Loading
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.request import Request
from localllm_magics.core.table import Table
from localllm_magics.model import Model
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.card.status_line import to_bundle, to_plain
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.commands.status import status_table
from localllm_magics.notebook.options import LOADING, PIN
from localllm_magics.notebook.parser import Parsed
from localllm_magics.notebook.question import to_load_options
from localllm_magics.notebook.references import matching_references


def load_model(model: Model, display: Display) -> None:
    """Load MODEL, with its progress in DISPLAY; nothing is shown where it is loaded already."""
    generation = Generation(Request(messages=()), model.status().model)

    def show(event: Loading) -> None:
        generation.feed(event)
        display.update(to_bundle(to_plain(Progress.of(generation))))

    outcome = "loaded"
    try:
        model.load(show)
    except BaseException as exc:
        outcome = "stopped" if isinstance(exc, KeyboardInterrupt) else "failed"
        raise
    finally:
        if display.is_shown:
            display.publish(to_bundle(f"{model.info.reference} · {outcome}"))


def _load(notebook: Notebook, parsed: Parsed) -> Table:
    use = notebook.session.use(parsed.words[0], to_load_options(parsed), keeps_options=False)
    try:
        load_model(use.model, notebook.front_end.new_display())
    except BaseException:
        use.undo()
        raise
    if "pin" in parsed.values:
        use.pin()
    use.keep()
    for notice in use.notices:
        notebook.write(notice)
    return status_table(notebook.session)


COMMAND = Command(
    name="load",
    words="REF",
    needs="a model",
    options=(*LOADING, PIN),
    completes=matching_references,
    run=_load,
    help="load a model and make it the current one",
    hint="Type: %llm load demo, or %llm models for a list.",
)
