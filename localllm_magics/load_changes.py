"""What load options change of a model that may be in memory already."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict, replace

from localllm_magics.core.hints import no_experts
from localllm_magics.core.request import LoadOptions
from localllm_magics.model import Model


def changed_options(options: LoadOptions, model: Model, *, keeps_options: bool) -> LoadOptions:
    """How MODEL is to be loaded; where that is as it is, it need not be loaded again.

    What it has anyway changes nothing, nor does `force` once it is in memory, or for a server.

    Args:
        options: What the user asks for.
        model: As it is loaded now.
        keeps_options: What OPTIONS leave out stays as it is, and does not become the default.
    """
    if model.info.engine != "kernel":
        options = replace(options, force=None)
    before = model.options
    unlike = replace(options, **{name: getattr(before, name) for name in _unchanging(options, model)})
    if (unlike.or_else(before) if keeps_options else unlike) == before:
        return before
    return replace(options.or_else(before), force=options.force) if keeps_options else options


def notices_of_unchanged(options: LoadOptions, model: Model) -> Iterator[str]:
    """What to say of MODEL, which OPTIONS do not change."""
    if kept := _kept_options(options, model):
        reference = shlex.quote(model.info.reference)
        yield f"`{kept}`, as loaded before; `%llm load {reference}` goes back to the defaults."
    if options.cpu_moe not in (None, model.options.cpu_moe):
        yield no_experts(model.info.reference)


def _unchanging(options: LoadOptions, model: Model) -> Iterator[str]:
    """The names of OPTIONS that are no reason to load MODEL again, whatever they are."""
    for name, value in {"ctx": model.context, "gpu_layers": model.gpu_layers}.items():
        if value is not None and getattr(options, name) == value:
            yield name
    if model.is_loaded:
        yield "force"
        if model.info.shape is not None and not model.info.shape.experts:
            yield "cpu_moe"


def _kept_options(options: LoadOptions, model: Model) -> str:
    """Those that MODEL was loaded with before, and that OPTIONS do not ask for, as they are typed."""
    asked = {name: None for name, value in asdict(options).items() if value is not None}
    kept = replace(model.options, **{**asked, "force": None})
    if kept.ctx is not None and model.context is not None:
        kept = replace(kept, ctx=model.context)
    if kept.gpu_layers == "auto":  # the default
        kept = replace(kept, gpu_layers=None)
    return str(kept)
