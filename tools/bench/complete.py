"""Ours, from Python: `Model.complete`."""

import time

from localllm_magics.api import load
from tools.bench.ask import MIN_P, TEMPERATURE, TOP_K, TOP_P, Ask, Sample, Setup, steps


class Complete:
    """A loaded model."""

    def __init__(self, setup: Setup) -> None:
        self._model = load(setup.reference, ctx=setup.context, threads=setup.threads)

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK."""
        called = time.perf_counter()
        completion = self._model.complete(
            ask.prompt,
            raw=True,
            max_tokens=ask.max_tokens,
            seed=ask.seed,
            temperature=TEMPERATURE,
            top_k=TOP_K,
            top_p=TOP_P,
            min_p=MIN_P,
        )
        ended = time.perf_counter()
        stats = completion.stats
        return Sample(
            text=completion.text,
            tokens=stats.completion_tokens,
            prompt_tokens=stats.prompt_tokens,
            prompt_seconds=stats.prompt_seconds,
            steps=steps(stats.completion_tokens, cut_off=completion.finish_reason == "length"),
            decode_seconds=stats.decode_seconds,
            wall_seconds=ended - called,
        )
