"""The Python API beside the model: `load` and `models`."""

import os
from typing import TYPE_CHECKING

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.errors import BadOption
from localllm_magics.core.exhausted import in_words
from localllm_magics.core.request import LoadArguments, LoadOptions
from localllm_magics.model import Model
from localllm_magics.session import default_session

if TYPE_CHECKING:
    from typing_extensions import Unpack


def load(reference: str | os.PathLike[str], *, pin: bool = False, **options: "Unpack[LoadArguments]") -> Model:
    """Load a model and make it the current one; options that are left out go back to their defaults.

    Args:
        reference: `demo`, a path to a GGUF file or a llamafile, a name that `models()` lists, or a model of a server:
            `ollama:NAME`, `openai:MODEL@URL`, a URL alone, `llamafile:PATH`.
        pin: Keep it in memory until it is unloaded, whatever room others need, and however long nothing uses it; a
            later load without it leaves it pinned. It has no effect on a model of a server.
        **options: See `LoadOptions`. By default, `ctx` is the trained size, at most 8,192, and `threads` one for each
            core, and one for a tiny model.

    Raises:
        LocalLLMError: There is no such model, or it cannot be loaded.
    """
    use = default_session().use(_typed(reference), LoadOptions(**options), keeps_options=False)
    try:
        use.model.load()
    except BaseException:
        use.undo()
        raise
    if pin:
        use.pin()
    use.keep()
    return use.model


def models(
    *, source: str | None = None, kind: str | None = None, fits: bool | None = None, forecast: bool = False
) -> ModelList:
    """The models that can be used: the bundled one, those in folders and in other programs' stores, those of servers.

    Each has its `fit`, as far as its file tells. All known servers are asked at the same time, and have half a second
    to answer.

    Args:
        source: Only those of this source, such as `ollama`.
        kind: Only those of this kind, such as `chat`.
        fits: Only those that fit into the memory that is free now, or only those that do not.
        forecast: Measure first how fast this machine is, where that was not done before: it takes a few seconds.

    Raises:
        BadOption: There is no such source or kind.
        LocalLLMError: The machine cannot be measured.
    """
    with in_words():
        found = default_session().list_models(_tell_nobody if forecast else None)
        return found.only(source=source, kind=kind, fits=fits)


def _tell_nobody(_part: float) -> None:
    """Where nothing shows how far a measurement is."""


def _typed(reference: object) -> str:
    """REFERENCE as it is typed.

    Raises:
        BadOption: It is neither a string nor a path.
    """
    if isinstance(reference, str | os.PathLike):
        return str(os.fspath(reference))
    kind = type(reference).__name__
    raise BadOption(f"A model reference is a string or a path, not a value of type {kind}.", 'Try load("demo").')
