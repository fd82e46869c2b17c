"""Where a card is drawn: in one display, or as text that is appended."""

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from IPython.core.interactiveshell import InteractiveShell

from localllm_magics.core import presentation
from localllm_magics.core.completion import MIME_TYPE, Completion
from localllm_magics.core.generation import Generation
from localllm_magics.core.progress import Progress
from localllm_magics.core.sanitizer.control import strip_control
from localllm_magics.notebook.card import status_line
from localllm_magics.notebook.card.display import Display
from localllm_magics.notebook.card.live_text import LiveText
from localllm_magics.notebook.interrupts import uninterrupted

if TYPE_CHECKING:
    from localllm_magics.core.sanitizer.markdown import GrowingMarkdown

_THOUGHT = 80  # characters of the reasoning that are shown while it comes: one line
_LATER = "It is shown when the answer is complete."


class Surface(Protocol):
    """What a card needs of a front end."""

    def draw(self, generation: Generation) -> None:
        """Show how far GENERATION is now."""

    def finish(self, completion: Completion, *, spell_error: bool) -> None:
        """Show COMPLETION, which stays."""


class DisplaySurface:
    """One display of Markdown, updated in place: the text so far and the status below it, then the completion."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def draw(self, generation: Generation) -> None:
        """Update the display, as often as the traffic allows: each update repeats the text."""
        text = generation.text
        if self._display.is_due(text):
            progress = Progress.of(generation)
            notes = map(presentation.to_safe_markdown, presentation.noted(progress.notices))
            above = "\n\n".join(filter(None, [_thought(generation), self._markdown.update(text).rstrip(), *notes]))
            self._display.update(status_line.to_bundle(status_line.to_plain(progress), above), text)

    @cached_property
    def _markdown(self) -> "GrowingMarkdown":
        from localllm_magics.core.sanitizer.markdown import GrowingMarkdown  # its patterns would slow %load_ext down

        return GrowingMarkdown()

    def finish(self, completion: Completion, *, spell_error: bool) -> None:
        """Put the completion in the display's place."""
        self._display.publish(completion.to_bundle(spell_error=spell_error))


class TextSurface:
    """Text as it comes, in a terminal with the status below it, and at the end what the text does not say."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._live = LiveText(sys.stdout)

    def draw(self, generation: Generation) -> None:
        """Write what has come."""
        with uninterrupted():
            self._live.write(generation.text, status_line.to_plain(Progress.of(generation)))

    def finish(self, completion: Completion, *, spell_error: bool) -> None:
        """Write the rest of the text, and below it the error, the notices and the line of stats."""
        self._live.end(completion.text)
        bundle = {"text/plain": completion.ending(spell_error=spell_error), MIME_TYPE: completion.to_json()}
        self._shell.display_pub.publish(bundle, metadata={})


def _thought(generation: Generation) -> str:
    """The reasoning: its last words while it comes, then folded. A block that is open would close at each update."""
    reasoning = generation.reasoning
    if not reasoning.strip():
        return ""
    if generation.text.strip():
        return f"<details><summary>Reasoning</summary>\n\n{_LATER}\n\n</details>"
    return presentation.small(f"… {strip_control(reasoning[-_THOUGHT:])}")
