"""Where a card is drawn: a notebook's cell, one display, a terminal, or nowhere until the end."""

import sys
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core.completion import Completion
from localllm_magics.core.progress import Progress
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.notebook.card.status_line import to_bundle
from localllm_magics.notebook.interrupts import uninterrupted

_TAIL = 600  # characters of text shown by a display that is replaced at each update
_BYTES_PER_SECOND = 3_500  # what such updates may cost
_ENVELOPE = 250  # bytes of an update beside its line and text


class Surface(Protocol):
    """What a card needs of a front end."""

    def show(self, progress: Progress, text: str) -> None:
        """Show PROGRESS now; TEXT is the whole answer so far."""

    def append(self, text: str) -> None:
        """Show TEXT after what was appended before."""

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:
        """Replace everything by BUNDLE."""


class CellSurface:
    """A cell that is all ours: text is appended, and replaced by the bundle at the end."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._display = _Display(shell)
        self._shell = shell

    def show(self, progress: Progress, text: str) -> None:  # noqa: ARG002 - the text was appended
        """Update the line above the text."""
        self._display.publish(to_bundle(progress))

    def append(self, text: str) -> None:
        """Write to the cell's output."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:  # noqa: ARG002 - the bundle has it
        """Clear the cell when the bundle comes, so that nothing flickers."""
        sys.stdout.flush()
        self._shell.display_pub.clear_output(wait=True)
        _Display(self._shell).publish(bundle)


class DisplaySurface:
    """One display among others' output: the status and the end of the text, then the bundle in its place.

    Args:
        shell: Where it is displayed.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(self, shell: InteractiveShell, clock: Callable[[], float] = time.perf_counter) -> None:
        self._display = _Display(shell)
        self._clock = clock
        self._next = clock()

    def show(self, progress: Progress, text: str) -> None:
        """Update the display, unless that would cost too much: each update repeats the end of the text."""
        now = self._clock()
        if now < self._next:
            return
        bundle = to_bundle(progress, text if len(text) <= _TAIL else f"… {text[-_TAIL:]}")
        size = _ENVELOPE + sum(len(str(part).encode()) for part in bundle.values())
        self._next = now + size / _BYTES_PER_SECOND
        self._display.publish(bundle)

    def end(self, line: str) -> None:
        """Put LINE, plain text, in the display's place."""
        self._display.publish({"text/plain": line})

    def append(self, text: str) -> None:
        """The next `show` has it."""

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:  # noqa: ARG002 - the bundle has it
        """Put the bundle in the display's place."""
        self._display.publish(bundle)


class FinalSurface:
    """Nothing but the bundle, for tests, continuous integration and logs."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def show(self, progress: Progress, text: str) -> None:
        """Nothing before the end."""

    def append(self, text: str) -> None:
        """Nothing before the end."""

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:  # noqa: ARG002 - the bundle has it
        """Publish the bundle."""
        _Display(self._shell, updates=False).publish(bundle)


class TerminalSurface:
    """A terminal: text as it comes, then the rest of the bundle."""

    def __init__(self) -> None:
        self._has_text = False

    def show(self, progress: Progress, text: str) -> None:
        """A terminal shows the text only."""

    def append(self, text: str) -> None:
        """Print it."""
        self._has_text = self._has_text or bool(text)
        print(text, end="", flush=True)  # noqa: T201 - a terminal is printed to

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:
        """Print the error and the line of stats, and the text if it was never shown."""
        plain = str(bundle["text/plain"])
        shown = strip_control(completion.text).rstrip() if self._has_text else ""
        print(plain.removeprefix(shown), flush=True)  # noqa: T201 - a terminal is printed to


class LineDisplay:
    """One line of plain text that changes; nothing where there is no shell.

    Args:
        shell: Where it is displayed, if anywhere.
        seconds: The least time between two updates.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self,
        shell: InteractiveShell | None,
        seconds: float = 0.2,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._display = None if shell is None else _Display(shell)
        self._seconds = seconds
        self._clock = clock
        self._next = clock()

    def show(self, line: str) -> None:
        """Put LINE there, unless one was put there a moment ago."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._seconds
            self.end(line)

    def end(self, line: str) -> None:
        """Put LINE there for good."""
        if self._display is not None:
            self._display.publish({"text/plain": line})


class _Display:
    """An output with an id, published once and then updated."""

    def __init__(self, shell: InteractiveShell, *, updates: bool = True) -> None:
        self._shell = shell
        self._transient = {"display_id": uuid.uuid4().hex} if updates else {}
        self._exists = False

    def publish(self, bundle: dict[str, object]) -> None:
        with uninterrupted():
            self._shell.display_pub.publish(bundle, metadata={}, transient=self._transient, update=self._exists)
            self._exists = True
