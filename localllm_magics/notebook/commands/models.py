"""`%llm models`: what can be asked."""

from localllm_magics.catalog.model_list import KINDS, SOURCES, ModelList
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.notebook.ask import Notebook
from localllm_magics.notebook.card.status_line import to_bundle
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
_FORECAST = Option(flags=("--forecast",), help="measure this machine first, if it was not: how fast each model will be")


def _models(notebook: Notebook, parsed: Parsed) -> ModelList:
    source, kind = (str(parsed.values[name]) if name in parsed.values else None for name in ("source", "kind"))
    fits = True if "fits" in parsed.values else None
    found = _measured(notebook) if "forecast" in parsed.values else notebook.session.list_models()
    return found.only(source=source, kind=kind, fits=fits).with_name("".join(parsed.words))


def _measured(notebook: Notebook) -> ModelList:
    """The models, once this machine was measured, with a display while that goes on."""
    display, outcome = notebook.front_end.new_display(), "not measured"

    def show(part: float) -> None:
        display.update(to_bundle(f"this machine · measuring: {part:.0%}"))

    try:
        found = notebook.session.list_models(show)
        outcome = "measured"
    except LocalLLMError as exc:  # a list without forecasts is better than none
        found = notebook.session.list_models()
        found.notes = (str(exc).replace("\n", " "), *found.notes)
    finally:
        if display.is_shown:
            display.publish(to_bundle(f"this machine · {outcome}"))
    return found


COMMAND = Command(
    name="models",
    words="[WORD]",
    options=(*_FILTERS, _FORECAST),
    run=_models,
    help="list the models that can be used, those of running servers too, or those with WORD in their names",
)
