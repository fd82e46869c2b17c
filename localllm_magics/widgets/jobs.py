"""Commands of a page at work: each in a thread of its own, each ended by exactly one answer."""

from collections.abc import Callable

from localllm_magics.core.errors import LocalLLMError, NotEnoughMemory
from localllm_magics.core.fork import new_lock
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.background import in_background
from localllm_magics.widgets.advice import to_advice
from localllm_magics.widgets.protocol import Accepted, Answer, Cancelled, Done, Failed, Planned

Work = Callable[[Stop], Done]
"""What a command does; it may raise anything."""


class Jobs:
    """The commands that run.

    Args:
        answer: Sends an answer to the page; called in the command's thread.
    """

    def __init__(self, answer: Callable[[Answer], None]) -> None:
        self._answer = answer
        self._lock = new_lock()
        self._stops: dict[str, Stop] = {}

    def start(self, id_: str, work: Work) -> None:
        """Run WORK for the command ID_; one that runs already is not begun again."""
        stop = Stop()
        with self._lock:
            if self._stops.setdefault(id_, stop) is not stop:
                return
        in_background(lambda: self._run(id_, work, stop), "localllm-picker")

    def cancel(self, id_: str) -> None:
        """Ask a command to end; one that has ended is no error."""
        stop = self._stops.get(id_)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """Ask all commands to end."""
        for stop in tuple(self._stops.values()):
            stop.set()

    def _run(self, id_: str, work: Work, stop: Stop) -> None:
        self._answer(Accepted(kind="accepted", id=id_))
        try:
            answer = _outcome(id_, work, stop)
        finally:
            self._stops.pop(id_, None)
        self._answer(answer)


def done(id_: str, *notices: str, plans: list[Planned] | None = None) -> Done:
    """The answer to a command that ended well."""
    return Done(kind="done", id=id_, notices=list(notices), plans=plans or [])


def failed(id_: str, error: LocalLLMError) -> Failed:
    """The answer to a command that ended with ERROR."""
    can_force = isinstance(error, NotEnoughMemory)
    return Failed(kind="failed", id=id_, message=error.message, hint=to_advice(error.hint), can_force=can_force)


def _outcome(id_: str, work: Work, stop: Stop) -> Answer:
    """What the command ended with; whatever WORK raises, the page gets an answer."""
    try:
        return work(stop)
    except Stopped:
        return Cancelled(kind="cancelled", id=id_)
    except LocalLLMError as error:
        return Cancelled(kind="cancelled", id=id_) if stop.is_set() else failed(id_, error)
    except Exception as exc:  # noqa: BLE001 - a page that asked gets its answer
        return failed(id_, LocalLLMError(f"{type(exc).__name__}: {exc}", "Press Rescan, or run the cell again."))
