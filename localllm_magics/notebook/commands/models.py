"""`%llm models`: what can be asked."""

from localllm_magics.notebook.commands.command import Command

COMMAND = Command(
    name="models",
    run=lambda notebook, _parsed: notebook.session.list_models(),
    help="list the models that can be used, those of running servers too",
)
