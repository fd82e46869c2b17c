"""The models of a session, as frozen values."""

from dataclasses import dataclass, replace
from pathlib import Path

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.engines.file_stamp import has_changed, is_same_file
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.model import Model


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the meaning of a reference depends on, beside the files that it names.

    Args:
        variables: Those of the environment that say where Ollama and models are, and the folders that were set.
    """

    folder: Path
    variables: tuple[str | None, ...]
    settings: ServerSettings


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that is used, or was.

    Args:
        reference: As it was typed last.
        surroundings: In which the reference was resolved.
        named: What the reference was resolved to; None where that is the model's own description.
        options: With which it was loaded or has answered last; None if it never was or has.
        uses: How many uses of it have not ended.
    """

    model: Model
    reference: str
    surroundings: Surroundings
    options: LoadOptions | None = None
    uses: int = 0
    named: ModelInfo | None = None

    @property
    def has_changed(self) -> bool:
        """Whether another file lies now where its own was, or where its reference leads."""
        return has_changed(self.model.info) or (self.named is not None and has_changed(self.named))


@dataclass(frozen=True, slots=True)
class SessionState:
    """All models, oldest first, and the current one; replaced as a whole, so that nobody waits to read it."""

    entries: tuple[Entry, ...] = ()
    current: Model | None = None

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that were loaded or have answered."""
        return tuple(entry.model for entry in self.entries if entry.options is not None and not entry.model.is_unloaded)

    @property
    def in_use(self) -> tuple[Model, ...]:
        """`models`, and those that a use has begun of."""
        used = (entry for entry in self.entries if entry.options is not None or entry.uses)
        return tuple(entry.model for entry in used if not entry.model.is_unloaded)

    @property
    def usable(self) -> Model | None:
        """The current model, unless it was unloaded elsewhere."""
        return None if self.current is None or self.current.is_unloaded else self.current

    def current_reference(self, default: str) -> str:
        """What to type for the current model, wherever we run; DEFAULT where there is none."""
        current = self.usable
        if current is None:
            return default
        is_relative = current.info.source == "folder" and current.info.engine == "kernel" and current.path is not None
        return str(current.path) if is_relative else current.info.reference

    def find_current(self, surroundings: Surroundings) -> Model | None:
        """The current model, if its reference would still mean it; a file means itself in every folder."""
        current = self.usable
        entry = None if current is None else self.of(current)
        if current is None or entry is None or has_changed(current.info):
            return None
        is_same = current.path is not None or replace(entry.surroundings, folder=surroundings.folder) == surroundings
        return current if is_same else None

    def find(self, typed: str, surroundings: Surroundings) -> Model | None:
        """The model that TYPED has named before, if it would name the same one again."""
        for entry in reversed(self.entries):
            is_same = entry.surroundings == surroundings and not entry.model.is_unloaded
            if is_same and typed in (entry.reference, entry.model.info.reference) and not entry.has_changed:
                return entry.model
        return None

    def loaded_as(self, typed: str) -> list[Model]:
        """Those of `models` that TYPED names: by reference or path, else as it was typed, else by name."""
        entries = [entry for entry in self.entries if entry.model in self.models]
        ranked = [(rank, e.model) for e in entries for rank, names in enumerate(_names(e)) if typed in names]
        best = min((rank for rank, _ in ranked), default=None)
        return [model for rank, model in ranked if rank == best]

    def of(self, model: Model) -> Entry | None:
        """The entry of MODEL."""
        return next((entry for entry in self.entries if entry.model is model), None)

    def same(self, model: Model, surroundings: Surroundings) -> Entry | None:
        """The entry of MODEL, else of one that was made of the same."""
        others = (entry for entry in self.entries if is_same(entry, model.info, surroundings))
        return self.of(model) or next(others, None)

    def put(self, entry: Entry) -> "SessionState":
        """With ENTRY in the place of the one with its model, or at the end."""
        entries = [entry if other.model is entry.model else other for other in self.entries]
        return replace(self, entries=tuple(entries if self.of(entry.model) else [*entries, entry]))

    def end_use(self, model: Model, options: LoadOptions | None) -> "SessionState":
        """With one use of MODEL less; OPTIONS are those with which it was loaded or has answered, or None."""
        entry = self.of(model)
        if entry is None:
            return self
        entry = replace(entry, uses=entry.uses - 1, options=options or entry.options)
        if entry.options is None and not entry.uses:
            return self.without(model)
        if options is None:
            return self.put(entry)
        replaced = [e.model for e in self.entries if e.model is not model and _is_same_name(e.model, model)]
        return replace(self.put(entry).without(*replaced), current=model)

    def without(self, *models: Model) -> "SessionState":
        """Without MODELS, and those that were unloaded."""
        kept = tuple(e for e in self.entries if e.model not in models and not e.model.is_unloaded)
        current = self.current if any(entry.model is self.current for entry in kept) else None
        return SessionState(kept, current)


def _names(entry: Entry) -> tuple[tuple[str, ...], ...]:
    """What names the model of ENTRY, the surest first."""
    info = entry.model.info
    return (info.reference, str(info.path)), (entry.reference,), (info.name,)


def has_same_file(one: Model, other: Model) -> bool:
    """Whether both were made of the same path, at different times perhaps."""
    return one is not other and is_same_file(one.path, other.path)


def _is_same_name(one: Model, other: Model) -> bool:
    """Whether both are models of servers that are named alike: the later one takes the place of the other."""
    return one.path is None and one.info.source == "daemon" and one.info.reference == other.info.reference


def is_same(entry: Entry, info: ModelInfo, surroundings: Surroundings) -> bool:
    """Whether INFO means the model of ENTRY: the same file, or the same name on the same server, run alike."""
    one = entry.model.info
    if entry.model.is_unloaded or (one.engine, one.defaults) != (info.engine, info.defaults):
        return False
    if one.path is not None or info.path is not None:
        return is_same_file(one.path, info.path) and not has_changed(one)
    is_same_server = (one.address, one.name) == (info.address, info.name)
    return is_same_server and entry.surroundings.settings == surroundings.settings
