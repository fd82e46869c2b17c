"""`%llm models`: what can be asked."""

from localllm_magics.catalog.model_list import KINDS, SOURCES, ModelList
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.commands.command import Command
from localllm_magics.notebook.options import Option
from localllm_magics.notebook.parser import Parsed

_FILTERS = (
    Option(
        flags=("--source",),
        metavar="SOURCE",
        example="ollama",
        completes=lambda _word, _session: SOURCES,
        help=f"those of one source: {', '.join(SOURCES)}",
    ),
    Option(
        flags=("--kind",),
        metavar="KIND",
        example="chat",
        completes=lambda _word, _session: KINDS,
        help=f"those of one kind: {', '.join(KINDS)}",
    ),
    Option(flags=("--fits",), help="those that fit into memory"),
)


def _models(notebook: Notebook, parsed: Parsed) -> ModelList:
    source, kind = (str(parsed.values[name]) if name in parsed.values else None for name in ("source", "kind"))
    fits = True if "fits" in parsed.values else None
    return notebook.session.list_models().only(source=source, kind=kind, fits=fits).with_name("".join(parsed.words))


COMMAND = Command(
    name="models",
    words="[WORD]",
    options=_FILTERS,
    run=_models,
    help="list the models that can be used, those of running servers too, or those with WORD in their names",
)
