"""Ours, on a server: `Model.stream`, what it sends, and the same in a cell."""

import json
import time

from localllm_magics.api import load
from localllm_magics.core.events import TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.model import Model
from tools.bench.ask import Ask, Sample, Setup, steps


class ServedModel:
    """A model of the server whose URL is the reference."""

    def __init__(self, setup: Setup) -> None:
        self._model = load(setup.reference)

    def ask(self, ask: Ask) -> Sample:
        """Answer ASK; `prompt_seconds` is the time to the first text, and decoding is from there to the last."""
        called = time.perf_counter()
        with self._model.start(generation(self._model, ask)) as stream:
            times = [time.perf_counter() for event in stream if isinstance(event, TextDelta)]
            ended = time.perf_counter()
            completion = stream.completion()
        stats = completion.stats
        return Sample(
            text=completion.text,
            tokens=stats.completion_tokens,
            prompt_tokens=stats.prompt_tokens,
            prompt_seconds=times[0] - called,
            steps=steps(stats.completion_tokens, cut_off=completion.finish_reason == "length"),
            decode_seconds=times[-1] - times[0],
            wall_seconds=ended - called,
            server_seconds=stats.decode_seconds,
        )


def request(ask: Ask) -> Request:
    """ASK for a server: it writes the prompt itself, and is asked for the likeliest tokens, which cost least."""
    sampling = Sampling(temperature=0, seed=ask.seed, max_tokens=ask.max_tokens)
    return Request(messages=to_messages(ask.text, None), sampling=sampling)


def generation(model: Model, ask: Ask) -> Generation:
    """The same, to be begun on MODEL."""
    return Generation(request(ask), model.status().model)


def body(model: Model, ask: Ask) -> bytes:
    """The JSON that MODEL sends for ASK."""
    return json.dumps(json.loads(model.preview(request(ask)).sent)).encode()


def cell_source(setup: Setup, ask: Ask) -> str:
    """The cell that asks ASK of the server whose URL is the reference."""
    return f"%%llm {setup.reference} -n {ask.max_tokens} -t 0 --seed {ask.seed}\n{ask.text}"
