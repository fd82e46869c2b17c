"""`%llm models`: what can be asked."""

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.parser import Parsed


def _models(notebook: Notebook, parsed: Parsed) -> ModelList:
    return notebook.session.list_models().with_name("".join(parsed.words))


COMMAND = Command(
    name="models",
    words="[WORD]",
    run=_models,
    help="list the models that can be used, those of running servers too, or those with WORD in their names",
)
