"""A tiny model of zeros, timed through the engine itself: repacked weights, threads and devices as in a real load."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from localllm_magics.core.memory_plan import CHUNK, PlanSettings
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine import physical_cores
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.kernel.worker.hollow_model import HollowShape, hollow_model
from localllm_magics.engines.sparse_gguf import write_sparse

DEEP = 4 * CHUNK
"""Tokens before those that are timed deep in a context."""
_TOKEN = 1
_NEARLY = 1.03
_FEWEST = 4


class Noise:
    """How much other programs have disturbed measurements."""

    def __init__(self) -> None:
        self._ratios: list[float] = []

    @property
    def ratio(self) -> float:
        """What a measurement usually took, over the fastest of its kind."""
        return statistics.median(self._ratios) if self._ratios else 1.0

    def add(self, times: Sequence[float]) -> None:
        """Take in measurements of one kind; of too few, none is usual."""
        if len(times) >= _FEWEST:
            self._ratios.append(statistics.median(times) / min(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where models are computed.

    Args:
        repack: Whether the CPU's weights are repacked.
        is_gpu: All layers go to GPUs.
        noise: Takes in all that is measured there.
    """

    lib: Library
    repack: bool = True
    is_gpu: bool = False
    threads: int = field(default_factory=physical_cores)
    noise: Noise = field(default_factory=Noise)


class TinyBench:
    """A model in memory; a context manager that frees it."""

    def __init__(self, place: Place, shape: HollowShape) -> None:
        lib, path = place.lib, Path("tiny.gguf")
        self._noise = place.noise
        write_sparse(hollow_model(shape), path)
        layers = ALL_LAYERS if place.is_gpu else 0
        settings = PlanSettings(context=DEEP + CHUNK, gpu_layers=layers, repack=place.repack)
        self._model = LlamaModel(lib, path, settings, stop=Stop())
        path.unlink()
        self._context = Context(lib, self._model, size=settings.context, threads=place.threads)
        self._sampler = Sampler(lib, LLAMA_CPP_SAMPLING.seeded(), shape.vocabulary)

    def __enter__(self) -> "TinyBench":
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.__exit__()
        self._context.close()
        self._model.close()

    def prompt(self, tokens: int) -> list[float]:
        """Seconds of each chunk of a new prompt of TOKENS, and the choice of a token after it."""
        self._context.reuse_prefix([])
        seconds, start = [], time.perf_counter()
        for _ in self._context.prefill([_TOKEN] * tokens):
            self._sampler.sample(self._context.pointer)  # a GPU may compute until then
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        return seconds

    def decode(self) -> float:
        """Seconds of a token, the choice of the next included."""
        start = time.perf_counter()
        self._context.decode(_TOKEN)
        self._sampler.sample(self._context.pointer)
        return time.perf_counter() - start

    def choose(self) -> float:
        """Seconds of the choice of a token, once it is computed."""
        self._context.decode(_TOKEN)
        start = time.perf_counter()
        self._sampler.sample(self._context.pointer)
        return time.perf_counter() - start

    def fastest(self, measure: Callable[[], float], seconds: float, *, enough: int = 4) -> float:
        """See `fastest`; the noise of the place becomes known."""
        return fastest(measure, seconds, enough=enough, noise=self._noise)


def fastest(measure: Callable[[], float], seconds: float, *, enough: int = 4, noise: Noise) -> float:
    """The least that MEASURE returns, within SECONDS: what other programs do only makes it slower.

    Args:
        measure: Called once at least.
        seconds: After which there is no other call.
        enough: How many that are nearly as fast end it before.
        noise: Takes in what was measured.
    """
    times, end = [measure()], time.perf_counter() + seconds
    while sum(each < _NEARLY * min(times) for each in times) < enough and time.perf_counter() < end:
        times.append(measure())
    noise.add(times)
    return min(times)
