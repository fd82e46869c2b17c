"""`%llm models`: what can be asked."""

from localllm_magics.catalog.discover import ModelList
from localllm_magics.notebook.commands.command import Command, Notebook
from localllm_magics.notebook.parser import Parsed


def _models(notebook: Notebook, _parsed: Parsed) -> ModelList:
    return notebook.session.list_models()


COMMAND = Command(name="models", run=_models, help="list the models that can be used, those of running servers too")
