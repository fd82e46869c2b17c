"""What is loaded in this process, and what runs."""

import atexit
import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from localllm_magics.catalog.discover import VARIABLES, Catalog, distinct, running_folder
from localllm_magics.catalog.model_list import ModelList, in_order
from localllm_magics.catalog.reference import resolve
from localllm_magics.catalog.server_reference import is_server_reference, resolve_server_reference
from localllm_magics.catalog.servers import find_servers
from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import LocalLLMError, ModelNotFound, UsageError
from localllm_magics.core.fork import new_lock
from localllm_magics.core.memory_plan import MemoryPlan
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.file_stamp import has_changed
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.engines.stream import Stream, running_streams
from localllm_magics.load_changes import changed_options, notices_of_unchanged
from localllm_magics.model import Model
from localllm_magics.residency import Residency
from localllm_magics.session_state import Entry, SessionState, Surroundings, has_same_file, is_same

DEFAULT_MODEL = "demo"
_VARIABLES = ("OLLAMA_HOST", *VARIABLES)


@dataclass(frozen=True, slots=True)
class Use:
    """A model that is about to be loaded or asked; its end is either `keep` or `undo`.

    Args:
        model: Not in memory yet, perhaps; it stays there until the end.
        told: What this use has changed, in sentences, and what happens to the model meanwhile.
    """

    model: Model
    session: "Session"
    told: list[str] = field(default_factory=list)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know by now, in sentences."""
        return tuple(self.told)

    def pin(self) -> None:
        """Have it stay in memory until it is unloaded, where that is ours to say."""
        if _is_ours(self.model):
            self.model.is_pinned = True
        else:
            self.told.append(f"--pin has no effect: the server of {self.model.info.reference} decides what it keeps.")

    def keep(self) -> None:
        """It was loaded or has answered: it is the current model from now on."""
        self.session.end_use(self, is_proven=True)

    def undo(self) -> None:
        """Take back what this use has changed, unless the model is in memory, or somebody else uses it."""
        self.session.end_use(self, is_proven=self.model.is_loaded)


class Session:
    """Loaded models, the current one, and running generations; for any thread.

    Args:
        clock: Seconds on a clock that does not jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = ServerSettings()
        self.residency = Residency(self._own_models, self._tell, clock)
        self.catalog = Catalog()
        self.listed: tuple[str, ...] = ()
        self._last: dict[str, Completion] = {}
        self._clock = clock
        self._lock = new_lock()
        self._state = SessionState()
        self._subscribers: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Session {self.models}, {len(self.running)} running>"

    @property
    def current(self) -> Model | None:
        """The model of a cell that names none."""
        return self._state.usable

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that were loaded or have answered, oldest first."""
        return self._state.models

    @property
    def in_use(self) -> tuple[Model, ...]:
        """`models`, and those that are being loaded or asked for the first time, oldest first."""
        return self._state.in_use

    @property
    def running(self) -> tuple[Stream, ...]:
        """The generations of this process that have not ended, oldest first."""
        return running_streams()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call CALLBACK, in any thread, when `models` or `current` have changed, or one of them has left memory.

        So it is when a load in this process begins and when it has ended, that of a model that is only `in_use` too.
        It is called until what this returns is called.
        """
        key = object()
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def add(self, model: Model) -> None:
        """Take MODEL in and make it the current one."""
        entry = Entry(model, model.info.reference, self._surroundings(), model.options)
        self._update(lambda state: replace(state.put(entry), current=model))

    def use(
        self,
        reference: str | None,
        options: LoadOptions,
        default: str = DEFAULT_MODEL,
        *,
        keeps_options: bool = True,
    ) -> Use:
        """The model that REFERENCE names, or the current one, or DEFAULT; it need not be in memory yet.

        A load option that differs from how it is loaded takes it out of memory, to be reloaded, and so does a file
        that has changed.

        Args:
            reference: As the user wrote it; see `load`.
            options: How it is to be loaded.
            default: A reference, for the case that there is no other.
            keeps_options: What OPTIONS leave out stays as the model is loaded, and does not become the default.

        Raises:
            LocalLLMError: There is no such model, or its file cannot be used.
        """
        surroundings = self._surroundings()
        state = self._state
        typed = state.current_reference(default) if reference is None else reference
        known = state.find_current(surroundings) if reference is None else state.find(reference, surroundings)
        named, model = (None, known) if known else self._resolved(typed, surroundings)
        use, is_new = self._claim(Entry(model, typed, surroundings, named=named))
        model = use.model
        use.told.extend(self._unload_changed(model))
        wanted = changed_options(options, model, keeps_options=keeps_options)
        if wanted != model.options:
            try:
                model.reload(wanted)
            except BaseException:
                self.end_use(use, is_proven=False)
                raise
            if not is_new:
                use.told.append(f"Reloaded with {str(wanted) or 'the defaults'}.")
        elif not is_new:
            use.told.extend(notices_of_unchanged(options, model))
        return use

    def end_use(self, use: Use, *, is_proven: bool) -> None:
        """End USE; a model that was loaded or has answered, IS_PROVEN, is the current one.

        After the last use of several, one that was neither loaded nor has answered is forgotten, and one that could
        not be loaded with other options gets back those that it had.
        """
        model = use.model
        options = model.options if is_proven else None
        self._update(lambda state: state.end_use(model, options))
        entry = self._state.of(model)
        if entry is None:
            if _is_ours(model):
                model.unload()
        elif entry.options is not None and not entry.uses and entry.options != model.options:
            model.reload(entry.options)
        model.activity.end(use.told)
        self.residency.watch()

    def record(self, completion: Completion) -> None:
        """Remember COMPLETION as the last one of its model."""
        self._last[completion.model.reference] = completion

    def last(self, reference: str) -> Completion | None:
        """The last completion of a model."""
        return self._last.get(reference)

    def stop(self, id_: str | None = None) -> int:
        """Ask the generation with this id, or all, to stop; how many were asked."""
        wanted = [stream for stream in self.running if id_ in (None, stream.request.id)]
        for stream in wanted:
            stream.stop()
        return len(wanted)

    def unload(self, reference: str | None = None) -> list[str]:
        """Unload the model named so, or all; their references.

        Args:
            reference: As in `%llm status`, or as it was typed, or the model's name where it is the only one.

        Raises:
            ModelNotFound: No loaded model has this name.
            UsageError: Several have it.
        """
        models = list(self.models) if reference is None else [self._loaded_as(reference)]
        self.remove(*models)
        return [model.info.reference for model in models]

    def remove(self, *models: Model) -> None:
        """Unload MODELS and forget them."""
        self._update(lambda state: state.without(*models))
        for model in models:
            model.unload()

    def list_models(self, measuring: Callable[[float], None] | None = None) -> ModelList:
        """All models that can be used, those of servers that answer too; `listed` remembers these.

        Args:
            measuring: Told how far the measurement of this machine is, from 0 to 1, which is then made first where it
                was not before; without it, none is made.

        Raises:
            LocalLLMError: The machine cannot be measured.
        """
        from localllm_magics.catalog.judgement import judge_now, measure, speed_notes

        servers = find_servers(self.settings)
        served = [info for server in servers for info in server.models]
        found = self.catalog.find(running_folder())
        self.listed = tuple(info.reference for info in served)
        missing = [server.problem for server in servers if server.is_named and server.problem]
        files = distinct(found.models)
        if measuring is not None:
            measure(files, Stop(), measuring)
        models = [*judge_now(files, self.residency.limits.memory_bytes), *served]
        return ModelList(in_order(models), notes=[*found.notes, *missing, *speed_notes(models)])

    def close(self) -> None:
        """Stop and forget everything, and unload what is ours; a server that others started keeps its models."""
        self.stop()
        before = self._update(lambda _: SessionState())
        self.residency.close()
        self.listed, self.settings, self.catalog = (), ServerSettings(), Catalog()
        for entry in before.entries:
            if _is_ours(entry.model):
                entry.model.unload()

    def _claim(self, new: Entry) -> tuple[Use, bool]:
        """Begin a use of NEW's model, or of one that another thread has made of the same; whether it is the first."""
        with self._lock:
            entry = self._state.same(new.model, new.surroundings) or new
            is_new = self._state.of(entry.model) is None
            named, uses = new.named or entry.named, entry.uses + 1
            entry = replace(new, model=entry.model, options=entry.options, named=named, uses=uses)
            self._state = self._state.put(entry)
            use = Use(entry.model, self)
            use.model.activity.begin(use.told)
        return use, is_new

    def _unload_changed(self, model: Model) -> tuple[str, ...]:
        """Unload what was made of MODEL's file before that changed; the notice of it."""
        changed = [e.model for e in self._state.entries if has_same_file(e.model, model) and has_changed(e.model.info)]
        for old in changed:
            old.unload()
        return (f"The file of {model.info.reference} has changed, so it was reloaded.",) if changed else ()

    def _update(self, change: Callable[[SessionState], SessionState]) -> SessionState:
        """Apply CHANGE, and return the state before."""
        with self._lock:
            before = self._state
            self._state = after = change(before)
        if (before.current, before.models) != (after.current, after.models):
            self._tell()
        return before

    def _tell(self) -> None:
        for callback in tuple(self._subscribers.values()):
            callback()

    def _loaded_as(self, typed: str) -> Model:
        """The loaded model that TYPED names, or means where we run."""
        found = self._state.loaded_as(typed)
        if not found:
            with suppress(LocalLLMError):
                _, model = self._resolved(typed, self._surroundings())
                found = [known for known in self.models if known is model]
        if not found:
            loaded = ", ".join(model.info.reference for model in self.models) or "none"
            raise ModelNotFound(f"{typed} is not loaded.", f"Loaded: {loaded}. Type: %llm status")
        if len(found) > 1:
            names = [shlex.quote(str(model.path or model.info.reference)) for model in found]
            raise UsageError(
                f"{typed} names {len(found)} loaded models.", f"Type %llm unload and {' or '.join(names)}."
            )
        return found[0]

    def _own_models(self) -> list[Model]:
        """The models whose memory is ours to give back."""
        models = (entry.model for entry in self._state.entries)
        return [model for model in models if _is_ours(model) and not model.is_unloaded]

    def _surroundings(self) -> Surroundings:
        settings = replace(self.settings, addresses=())  # where to look for servers changes no reference
        variables = (*map(os.environ.get, _VARIABLES), *self.catalog.model_folders)
        return Surroundings(running_folder(), variables, settings)

    def _resolved(self, typed: str, surroundings: Surroundings) -> tuple[ModelInfo, Model]:
        """What TYPED names now, and its model: one that is in use, or a new one."""
        text, folder = typed.strip(), surroundings.folder
        is_server = is_server_reference(text, folder)
        try:
            info = (
                resolve_server_reference(text, folder)
                if is_server
                else resolve(text, folder, self._served_models, self.catalog)
            )
        except ModelNotFound:
            # The name of a file that was loaded in another folder, or is gone.
            known = [m for m in self.models if m.info.reference == text and not has_changed(m.info)]
            if not known:
                raise
            return known[-1].info, known[-1]
        same = next((e for e in self._state.entries if is_same(e, info, surroundings)), None)
        return info, same.model if same else self._new_model(info)

    def _new_model(self, info: ModelInfo) -> Model:
        current = self.current
        if current is not None and current.path == info.path is not None:
            # Its file has changed: it keeps its name, and a saved notebook shows no folder.
            info = replace(info, reference=current.info.reference)

        def make_room(plan: Callable[[], MemoryPlan], is_forced: bool) -> None:
            self.residency.make_room(model, plan, is_forced=is_forced)

        engine = new_engine(info, LoadOptions(), self.settings, make_room=make_room, at_load=self._tell)
        model = Model(engine, info, self._clock, at_end=self.residency.resume)
        return model

    def _served_models(self) -> list[ModelInfo]:
        return [info for server in find_servers(self.settings) for info in server.models]


_SESSION = Session()
atexit.register(_SESSION.close)


def default_session() -> Session:
    """The one session of this process; everything is unloaded at its end."""
    return _SESSION


def _is_ours(model: Model) -> bool:
    """Whether it is in this process, or on a server that was started here."""
    return model.info.engine not in ("ollama", "openai")
