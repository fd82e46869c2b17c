"""Where a card is drawn: a notebook's cell, one display, or a terminal."""

import math
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
_ENVELOPE = 250  # bytes of an update beside its bundle


class Surface(Protocol):
    """What a card needs of a front end."""

    def show(self, progress: Progress, text: str) -> None:
        """Show PROGRESS now; TEXT is the whole answer so far."""

    def append(self, text: str) -> None:
        """Show TEXT after what was appended before."""

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:
        """Replace everything by BUNDLE."""


class Display:
    """One output that is updated in place; nothing where there is no shell.

    Args:
        shell: Where it is displayed, if anywhere.
        is_live: Whether it takes updates; without them it has no id either.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self, shell: InteractiveShell | None, *, is_live: bool = True, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.is_shown = False
        self._shell = shell
        self._transient = {"display_id": uuid.uuid4().hex} if is_live else {}
        self._clock = clock
        self._next = clock() if is_live else math.inf

    def update(self, bundle: dict[str, object]) -> None:
        """Show BUNDLE, unless that would cost too much so soon after the last update."""
        now = self._clock()
        if now >= self._next:
            size = _ENVELOPE + sum(len(str(part).encode()) for part in bundle.values())
            self._next = now + size / _BYTES_PER_SECOND
            self.publish(bundle)

    def publish(self, bundle: dict[str, object]) -> None:
        """Show BUNDLE."""
        if self._shell is None:
            return
        with uninterrupted():
            self._shell.display_pub.publish(bundle, metadata={}, transient=self._transient, update=self.is_shown)
            self.is_shown = True


class CellSurface:
    """A cell with no other output: text is appended, and replaced by the bundle at the end."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._display = Display(shell)
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
        Display(self._shell).publish(bundle)


class DisplaySurface:
    """One display among others' output: the status and the end of the text, then the bundle in its place."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def show(self, progress: Progress, text: str) -> None:
        """Update the display, now and then: each update repeats the end of the text."""
        self._display.update(to_bundle(progress, text if len(text) <= _TAIL else f"… {text[-_TAIL:]}"))

    def append(self, text: str) -> None:
        """The next `show` has it."""

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:  # noqa: ARG002 - the bundle has it
        """Put the bundle in the display's place."""
        self._display.publish(bundle)


class TerminalSurface:
    """A terminal: text as it comes, then the rest of the bundle."""

    def __init__(self) -> None:
        self._has_text = False

    def show(self, progress: Progress, text: str) -> None:
        """A terminal shows the text only."""

    def append(self, text: str) -> None:
        """Print it."""
        self._has_text = True
        print(text, end="", flush=True)  # noqa: T201 - a terminal is printed to

    def finish(self, bundle: dict[str, object], completion: Completion) -> None:
        """Print the error and the line of stats, and the text if it was never shown."""
        plain = str(bundle["text/plain"])
        shown = strip_control(completion.text).rstrip() if self._has_text else ""
        print(plain.removeprefix(shown), flush=True)  # noqa: T201 - a terminal is printed to
