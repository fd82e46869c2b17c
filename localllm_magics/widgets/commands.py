"""What the commands of a page do: list, plan, load, unload."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NoReturn, Protocol, cast

from localllm_magics.catalog.discover import running_folder
from localllm_magics.catalog.model_list import ModelList
from localllm_magics.core.errors import InternalError, LocalLLMError, ModelNotFound, UsageError
from localllm_magics.core.fork import new_lock
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import KvType, LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.background import in_background
from localllm_magics.engines.file_stamp import has_changed, read_stamp
from localllm_magics.session import Session
from localllm_magics.widgets.advice import to_advice
from localllm_magics.widgets.facts import Facts
from localllm_magics.widgets.jobs import Jobs, Work, done
from localllm_magics.widgets.protocol import (
    Answer,
    Command,
    Done,
    Load,
    Loading,
    Options,
    Plan,
    Status,
    Unload,
    to_command,
)
from localllm_magics.widgets.rows import to_loaded, to_planned

_SCANNING = "Looking for models …"
_MEASURING = "Measuring the speed of this machine, once …"
_STEP = 0.01
"""The least part of a load that is shown as progress."""


class Page(Protocol):
    """What shows the models; called in any thread."""

    def answer(self, answer: Answer) -> None:
        """Send an answer to a command."""

    def show_models(self, models: ModelList) -> None:
        """Show these models in the place of those before."""

    def show_status(self, status: Status) -> None:
        """Show what is so now."""

    def choose(self, reference: str) -> None:
        """Show that this model is chosen; what the page itself has chosen does not arrive while a cell runs."""


class Commands:
    """The commands of one page; for any thread.

    Args:
        session: Where models are loaded.
        facts: What is known of models.
        page: Where all that changes is shown.
    """

    def __init__(self, session: Session, facts: Facts, page: Page) -> None:
        self._session, self._facts, self._page = session, facts, page
        self._models = ModelList()
        self._folder = running_folder()
        self._devices: list[str] = []
        self._activities: dict[object, str] = {}
        self._note = ""
        self._loading: Loading | None = None
        self._measuring = Stop()
        self._lock = new_lock()
        self._jobs = Jobs(page.answer)
        self._unsubscribe = session.subscribe(self.show_status)

    def begin(self) -> "Future[None]":
        """Look for models, and measure this machine where that was not done before; the end of the first."""
        future = in_background(self._first_scan, "localllm-picker")
        future.add_done_callback(lambda _: in_background(self._measure, "localllm-picker"))
        return future

    def close(self) -> None:
        """End what runs; nothing is shown any more."""
        self._unsubscribe()
        self._measuring.set()
        self._jobs.close()

    def receive(self, message: object) -> None:
        """Do what MESSAGE of a page asks for, and answer."""
        try:
            command = to_command(message)
        except ValueError as exc:
            id_ = message.get("id") if isinstance(message, dict) else None
            self._jobs.start(str(id_), _raising(InternalError(str(exc), "Run the cell again, then reload the page.")))
        else:
            self._jobs.start(command["id"], lambda stop: self._run(command, stop))

    def show_status(self) -> None:
        """Show what is so now."""
        current = self._session.current
        self._page.show_status(
            Status(
                current=None if current is None else current.info.reference,
                loaded=to_loaded(self._session.models),
                loading=self._loading,
                activity="".join([*self._activities.values()][-1:]),
                note=self._note,
                devices=self._devices,
            )
        )

    def _run(self, command: Command, stop: Stop) -> Done:
        if command["kind"] == "load":
            return self._load(command, stop)
        if command["kind"] == "plan":
            return self._plan(command, stop)
        if command["kind"] == "unload":
            return self._unload(command)
        if command["kind"] == "cancel":
            self._jobs.cancel(command["target"])
        else:
            self._scan()
        return done(command["id"])

    def _load(self, command: Load, stop: Stop) -> Done:
        info, options = self._listed(command["reference"]), _to_load_options(command["options"], force=command["force"])
        with self._one_load(command):
            use = self._session.use(self._typed(info), options, keeps_options=False)
            try:
                use.model.load(lambda event: self._progress(command, event.fraction), stop)
            except BaseException:
                use.undo()
                raise
            use.keep()
            self._page.choose(info.reference)
        return done(command["id"], *use.notices, *use.model.status().notices)

    def _plan(self, command: Plan, stop: Stop) -> Done:
        info = self._listed(command["reference"])
        options = [_to_load_options(wanted) for wanted in command["options"]]
        plans = self._facts.plans(info, options, stop, is_exact=command["exact"])
        return done(
            command["id"], plans=[to_planned(plan, self._facts.forecast(info, plan.settings)) for plan in plans]
        )

    def _unload(self, command: Unload) -> Done:
        names = self._session.unload(command["reference"])
        return done(command["id"], f"Unloaded {', '.join(names)}.")

    def _scan(self) -> None:
        """List the models again."""
        with self._active(_SCANNING):
            self._folder = running_folder()
            self._models = self._facts.models()
            self._devices = [device.name for device in self._facts.machine().devices]
            self._page.show_models(self._models)

    def _first_scan(self) -> None:
        try:
            self._scan()
        except LocalLLMError as error:
            self._show_note(error)

    def _measure(self) -> None:
        """Measure this machine where a forecast is missing, then list the models anew; without one where that fails."""
        missing = [info for info in self._models if info.shape and info.problem is None and info.forecast is None]
        if not missing:
            return

        try:
            with self._active(_MEASURING) as show:
                self._facts.measure(missing, self._measuring, lambda part: show(f"{_MEASURING} {part:.0%}"))
            self._scan()
        except LocalLLMError as error:
            self._show_note(error)
        except Stopped:
            pass

    def _show_note(self, error: LocalLLMError) -> None:
        self._note = f"{error.message} {to_advice(error.hint)}".rstrip()
        self.show_status()

    def _listed(self, reference: str) -> ModelInfo:
        """The model that is listed as REFERENCE, with what its file says now.

        Raises:
            ModelNotFound: It is gone.
        """
        info = self._find(reference)
        if info is None or not _is_as_listed(info):
            self._scan()
            info = self._find(reference)
        if info is None:
            raise ModelNotFound(f"{reference} is gone since it was listed.", "Choose another one: the list is new.")
        return info

    def _find(self, reference: str) -> ModelInfo | None:
        return next((info for info in self._models if info.reference == reference), None)

    def _typed(self, info: ModelInfo) -> str:
        """What names INFO here; a file of the folder that was listed is named by its path in another one."""
        is_elsewhere = info.source == "folder" and info.path is not None and running_folder() != self._folder
        return str(info.path) if is_elsewhere else info.reference

    @contextmanager
    def _one_load(self, command: Load) -> Iterator[None]:
        """Show that COMMAND loads, while the block runs.

        Raises:
            UsageError: Another load of this page runs.
        """
        with self._lock:
            other = self._loading
            if other is None:
                self._loading = Loading(id=command["id"], reference=command["reference"], fraction=0.0)
        if other is not None:
            raise UsageError(f"{other['reference']} is being loaded.", "Wait for it, or cancel it.")
        try:
            self.show_status()
            yield
        finally:
            self._loading = None
            self.show_status()

    def _progress(self, command: Load, fraction: float) -> None:
        before = self._loading
        if before is not None and fraction - before["fraction"] >= _STEP:
            self._loading = Loading(id=command["id"], reference=command["reference"], fraction=fraction)
            self.show_status()

    @contextmanager
    def _active(self, activity: str) -> Iterator[Callable[[str], None]]:
        """Show ACTIVITY, or what it is changed to, while the block runs and none that began later does."""
        key = object()

        def show(activity: str) -> None:
            self._activities[key] = activity
            self.show_status()

        try:
            show(activity)
            yield show
        finally:
            del self._activities[key]
            self.show_status()


def _is_as_listed(info: ModelInfo) -> bool:
    """Whether its file is there, and is the one that was read."""
    return info.path is None or (read_stamp(info.path) is not None and not has_changed(info))


def _to_load_options(options: Options, *, force: bool = False) -> LoadOptions:
    return LoadOptions(
        ctx=options["context"],
        gpu_layers=options["gpu_layers"],
        cpu_moe=options["cpu_moe"],
        kv_type=cast("KvType | None", options["kv_type"]),  # checked there
        force=force or None,
    )


def _raising(error: InternalError) -> Work:
    def work(_stop: Stop) -> NoReturn:
        raise error

    return work
