"""What is loaded in this process, and what runs."""

import atexit
import functools
import os
import threading
from dataclasses import dataclass, fields, replace
from pathlib import Path

from localllm_magics.catalog.discover import ModelList, discover
from localllm_magics.catalog.reference import resolve
from localllm_magics.catalog.server_reference import is_served, to_served
from localllm_magics.catalog.servers import find_servers
from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import BadOption, LocalLLMError, ModelNotFound, ModelNotInDaemon
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import GpuLayers, LoadOptions
from localllm_magics.engines.factory import new_engine
from localllm_magics.engines.server.settings import ServerSettings
from localllm_magics.engines.stream import Stream, running_streams
from localllm_magics.model import Model

DEFAULT_MODEL = "demo"


@dataclass(frozen=True, slots=True)
class _Before:
    """What a use of a model has changed.

    Args:
        current: The current model before.
        options: How the model was to be loaded before; None if it was not in use.
    """

    current: Model | None = None
    options: LoadOptions | None = None


class Session:
    """Loaded models, the current one, and running generations; for any thread."""

    def __init__(self) -> None:
        self.current: Model | None = None
        self.settings = ServerSettings()
        self.listed: tuple[str, ...] = ()
        self._last: dict[str, Completion] = {}
        self._lock = threading.RLock()
        self._models: dict[Model, _Before] = {}

    def __repr__(self) -> str:
        return f"<Session {self.models}, {len(self.running)} running>"

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that are in use, oldest first."""
        with self._lock:
            self._models = {model: before for model, before in self._models.items() if not model.is_unloaded}
            return tuple(self._models)

    @property
    def running(self) -> tuple[Stream, ...]:
        """The generations of this process that have not ended, oldest first."""
        return running_streams()

    def add(self, model: Model) -> None:
        """Take MODEL in and make it the current one."""
        with self._lock:
            self._models[model] = _Before(self.current)
            self.current = model

    def use(self, reference: str | None, options: LoadOptions, default: str = DEFAULT_MODEL) -> Model:
        """The model that REFERENCE names, or the current one, or DEFAULT; it need not be in memory yet.

        A load option that differs from how it is loaded takes it out of memory, to be loaded anew.

        Args:
            reference: As the user wrote it; see `load`.
            options: How it is to be loaded.
            default: A reference, for the case that there is no other.

        Raises:
            LocalLLMError: There is no such model, or its file cannot be used.
        """
        with self._lock:
            model = self._known(reference) or self._resolved(reference or default)
            wanted = _changed(options, model).or_else(model.options)
            self._models[model] = _Before(self.current, model.options if model in self.models else None)
            if wanted != model.options:
                _check_loadable(model)
                model.reload(wanted)
            self.current = model
            return model

    def is_reloading(self, model: Model) -> bool:
        """Whether the last use of MODEL has changed how it is loaded."""
        before = self._models.get(model, _Before())
        return before.options not in (None, model.options)

    def drop(self, model: Model, error: LocalLLMError) -> None:
        """Undo the last use of MODEL if ERROR means that it cannot be loaded, so that nobody goes on with it.

        What ails a server passes: its model stays the current one, unless the server does not have it.
        """
        if not isinstance(error, ModelNotInDaemon) and (model.context is not None or model.info.address is not None):
            return
        with self._lock:
            before = self._models.get(model, _Before())
            if before.options is None or before.options == model.options:
                model.unload()
            else:
                model.reload(before.options)
            if self.current is model:
                self.current = before.current if before.current in self.models else None

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

        Raises:
            ModelNotFound: No loaded model has this name.
        """
        models = [model for model in self.models if reference in (None, model.info.reference, model.info.name)]
        if reference is not None and not models:
            loaded = ", ".join(model.info.reference for model in self.models) or "none"
            raise ModelNotFound(f"{reference} is not loaded.", f"Loaded: {loaded}. Type: %llm status")
        for model in models:
            model.unload()
        if self.current in models:
            self.current = None
        return [model.info.reference for model in models]

    def list_models(self) -> ModelList:
        """All models that can be used, those of servers that answer too; `listed` remembers these."""
        daemons = find_servers(self.settings)
        models = [*discover(Path.cwd()), *(info for daemon in daemons for info in daemon.models)]
        self.listed = tuple(info.reference for daemon in daemons for info in daemon.models)
        return ModelList(models, notes=[daemon.problem for daemon in daemons if daemon.is_named and daemon.problem])

    def close(self) -> None:
        """Stop and forget everything, and unload what is ours; a server that others started keeps its models."""
        self.stop()
        with self._lock:
            models = self.models
            self.current, self.listed, self._models = None, (), {}
            self.settings = ServerSettings()
        for model in models:
            if model.info.engine not in ("ollama", "openai"):
                model.unload()

    def _known(self, reference: str | None) -> Model | None:
        if reference is None:
            current = self.current
            return None if current is None or current.is_unloaded else current
        named = (model for model in self.models if model.info.reference == reference)
        return next((model for model in named if not _is_another_file(reference, model)), None)

    def _resolved(self, reference: str) -> Model:
        folder = Path.cwd()
        text = reference.strip()
        info = to_served(text, folder) if is_served(text) else resolve(text, folder, self._daemon_models)
        loaded = next((model for model in self.models if _is_same(model.info, info)), None)
        return loaded or Model(new_engine(info, LoadOptions(), self.settings), info)

    def _daemon_models(self) -> list[ModelInfo]:
        return [info for daemon in find_servers(self.settings) for info in daemon.models]


@functools.cache
def default_session() -> Session:
    """The one session of this process; everything is unloaded at its end."""
    session = Session()
    atexit.register(session.close)
    return session


def load(
    reference: str | os.PathLike[str],
    *,
    ctx: int | None = None,
    gpu_layers: GpuLayers | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model and make it the current one.

    Args:
        reference: `demo`, a path to a GGUF file or a llamafile, a name that `models()` lists, or a model of a server:
            `ollama:NAME`, `openai:MODEL@URL`, a URL alone, `llamafile:PATH`.
        ctx: Tokens of context; by default the trained size, at most 8,192.
        gpu_layers: How many layers go to a GPU, or `auto` or `all`.
        threads: CPU threads; by default one for each core, and one for a tiny model.

    Raises:
        LocalLLMError: There is no such model, or it cannot be loaded.
    """
    model = default_session().use(_written(reference), LoadOptions(ctx=ctx, gpu_layers=gpu_layers, threads=threads))
    try:
        model.load()
    except LocalLLMError as exc:
        default_session().drop(model, exc)
        raise
    return model


def models() -> ModelList:
    """The models that can be used: the bundled one, GGUF files in the running folder, and those of servers that run.

    All known servers are asked at once, and have half a second to answer.
    """
    return default_session().list_models()


def changed_options(options: LoadOptions) -> str:
    """OPTIONS that are set, as they are typed."""
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value is not None)


def _written(reference: object) -> str:
    """REFERENCE as it is typed.

    Raises:
        BadOption: It is neither a string nor a path.
    """
    if isinstance(reference, str | os.PathLike):
        return str(os.fspath(reference))
    kind = type(reference).__name__
    raise BadOption(f"A model reference is a string or a path, not a value of type {kind}.", 'Try load("demo").')


def _is_another_file(reference: str, model: Model) -> bool:
    """Whether REFERENCE, which named MODEL once, names another file in the folder in which we run now."""
    try:
        file = Path(reference.removeprefix("llamafile:")).expanduser().resolve()
        return model.path is not None and file.is_file() and file != model.path.resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def _changed(options: LoadOptions, model: Model) -> LoadOptions:
    """OPTIONS without those that MODEL, which is in memory, has anyway."""
    is_so = {"ctx": model.context, "gpu_layers": model.gpu_layers}
    same = {name: None for name, value in is_so.items() if value is not None and getattr(options, name) == value}
    return replace(options, **same)


def _check_loadable(model: Model) -> None:
    """Refuse to load a model in another way where somebody else has loaded it; nothing has changed then."""
    if model.engine.used.engine == "openai":
        raise BadOption(
            f"{model.info.address} was started with its own context and layers.",
            "Leave --ctx, --gpu-layers and --threads out, or start the server with others.",
        )


def _is_same(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether two references mean the same file, run in the same way; names of Ollama's can share one."""
    is_same_file = one.path is not None and one.path == other.path
    return is_same_file and one.engine == other.engine and one.defaults == other.defaults
