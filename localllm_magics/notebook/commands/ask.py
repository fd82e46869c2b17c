"""`%llm ask` and the cell magic `%%llm`: a question to a model."""

from localllm_magics.core.errors import ModelNotFound
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.options import ASKING
from localllm_magics.notebook.parser import Parsed
from localllm_magics.notebook.question import to_question
from localllm_magics.notebook.references import matching_references


def _ask_cell(notebook: Notebook, parsed: Parsed) -> None:
    try:
        notebook.answer(to_question(parsed))
    except ModelNotFound as exc:
        if not parsed.quoting_hint:
            raise
        raise ModelNotFound(exc.message, parsed.quoting_hint) from exc


COMMAND = Command(
    name="ask",
    words="TEXT",
    options=ASKING,
    takes_text=True,
    run=lambda notebook, parsed: notebook.answer(to_question(parsed)),
    help="ask in one line",
)
CELL = Command(
    magic="%%llm",
    name="",
    words="[MODEL]",
    options=ASKING,
    completes=matching_references,
    run=_ask_cell,
    help="ask with the prompt below",
    hint="The prompt goes below the line with %%llm, or after %llm ask.",
)
