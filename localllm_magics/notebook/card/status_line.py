"""The small live line of a card: what happens now, and how fast."""

import html
import time
from collections.abc import Callable

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.generation import Generation, State
from localllm_magics.core.sanitizer.markdown import strip_control

_DOTS = {State.DONE: "●", State.STOPPED: "■", State.FAILED: "▲"}


class LiveStatus:
    """Words for a generation that runs.

    Args:
        generation: What is watched.
        model: The model as far as known, asked at every look.
        clock: Seconds on a clock that does not jump.
    """

    def __init__(
        self, generation: Generation, model: Callable[[], ModelUsed], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._generation = generation
        self._model = model
        self._clock = clock
        self._start = clock()
        self._since = self._start
        self._state = generation.state
        self._first: float | None = None

    def look(self) -> None:
        """Notice a change of state; call it at each batch of events."""
        state = self._generation.state
        if state is not self._state:
            self._state, self._since = state, self._clock()
        if self._first is None and self._generation.tokens:
            self._first = self._clock() - self._start

    def to_plain(self) -> str:
        """The line for a terminal."""
        self.look()
        model = self._model()
        parts = [model.reference, self._state.value, *self._progress()]
        if model.context and self._generation.read.total:
            used = self._generation.read.done + self._generation.tokens
            parts.append(f"context {used:,} of {model.context:,}")
        if model.device:
            parts.append(f"{model.engine} on {model.device}")
        return strip_control(" · ".join(parts))

    def to_bundle(self, tail: str = "") -> dict[str, object]:
        """The line by media type, with TAIL, the end of the text, below it where HTML is shown."""
        line = self.to_plain()
        dot = _DOTS.get(self._state, "◌")
        small = f'<div style="font-size:85%;opacity:.75">{dot} {html.escape(line)}</div>'
        text = html.escape(strip_control(tail))
        block = f'<pre style="white-space:pre-wrap">{text}</pre>' if text else ""
        return {"text/plain": line, "text/html": small + block}

    def _progress(self) -> list[str]:
        generation = self._generation
        seconds = self._clock() - self._since
        if self._state is State.LOADING:
            return [f"{generation.loaded:.0%}" if generation.loaded else f"{seconds:.0f} s"]
        if self._state is State.READING:
            return _reading(generation, seconds)
        if self._state is State.PENDING and seconds >= 1:
            return [f"{seconds:.0f} s"]
        if self._state is not State.GENERATING:
            return []
        about = "~" if generation.is_estimated else ""
        what = "tokens" if generation.text else "tokens of reasoning"
        parts = [f"{about}{generation.tokens:,} {what}"]
        if seconds > 0:
            parts.append(f"{about}{generation.tokens / seconds:.1f} tok/s")
        if self._first is not None:
            parts.append(f"first token {self._first:.2f} s")
        return parts


def _reading(generation: Generation, seconds: float) -> list[str]:
    read = generation.read
    if not read.total:
        return [f"{seconds:.0f} s"]  # a server that does not tell
    fresh = read.done - read.cached
    parts = [f"{read.done:,} of {read.total:,} tokens"]
    if read.cached:
        parts.append(f"{read.cached:,} from the cache")
    if fresh > 0 and seconds > 0:
        rate = fresh / seconds
        parts += [f"{rate:.1f} tok/s", f"{(read.total - read.done) / rate:.0f} s left"]
    return parts
