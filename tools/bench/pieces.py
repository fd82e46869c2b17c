"""An answer of llama-server as a bare reader gets it, looked into only when it is over."""

import bisect
import itertools
import json
import re
import time

from tools.bench.ask import Sample, steps

CONTENT = re.compile(rb'"content":("[^"](?:[^"\\]|\\.)*")')
"""A piece of text; of what begins with an escaped quote, the backslash is the first character."""
_TIMINGS = re.compile(rb'"timings":(\{[^}]*\})')


class Pieces:
    """Bytes with the times when they came, from the making of this object on."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._data: list[bytes] = []
        self._started = time.perf_counter()

    def take(self, data: bytes) -> None:
        """DATA came."""
        self._times.append(time.perf_counter())
        self._data.append(data)

    def to_sample(self, wall_seconds: float | None = None) -> Sample:
        """What the answer took.

        Args:
            wall_seconds: From the call to the end, where somebody else has timed that better.
        """
        data = b"".join(self._data)
        found = list(CONTENT.finditer(data))
        assert found, f"llama-server sent no text: {data[:300]!r}"
        ends = list(itertools.accumulate(map(len, self._data)))
        first, last = (self._times[bisect.bisect_right(ends, piece.start())] for piece in (found[0], found[-1]))
        wall = self._times[-1] - self._started if wall_seconds is None else wall_seconds
        timings = json.loads(_TIMINGS.findall(data)[-1])
        return Sample(
            text="".join(json.loads(piece[1]) for piece in found),
            tokens=timings["predicted_n"],
            prompt_tokens=timings["cache_n"] + timings["prompt_n"],
            prompt_seconds=wall - (self._times[-1] - first),
            steps=steps(timings["predicted_n"], cut_off=True),
            decode_seconds=last - first,
            wall_seconds=wall,
            server_seconds=timings["predicted_ms"] / 1000,
        )
