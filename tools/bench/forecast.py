"""How near forecasts come to what is measured, on the CPU and on an RPC device."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localllm_magics.catalog.gguf import read_header
from localllm_magics.catalog.shape import read_shape
from localllm_magics.core.errors import EngineCrashed
from localllm_magics.core.memory_plan import CHUNK, PlanSettings
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.request import ALL_LAYERS
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.stop import Stop
from localllm_magics.engines.forecast.calibrate import TYPES, calibrate
from localllm_magics.engines.forecast.calibration import Calibration
from localllm_magics.engines.forecast.forecast import decode_seconds, missing_types, prompt_seconds
from localllm_magics.engines.forecast.stored import SpeedStore
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.machine import usual_threads
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.sparse_gguf import SparseModel, write_sparse
from tools.bench.forecast_shapes import FORECAST_SHAPES, QUANTIZATIONS, quantized, write
from tools.bench.result import Row, Section, at_most
from tools.bench.worker import WorkerFailed
from tools.rpc_device import rpc_device

_TOKENS, _ROUNDS, _CONTEXT = 10, 4, 1024
_LIMITS = {"decode": (0.08, 0.20), "prompt": (0.15, 0.30)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A model on a device: rates in tokens per second."""

    name: str
    rate: str
    forecast: float
    measured: float

    @property
    def error(self) -> float:
        """How far the forecast is from what was measured, as a part of that."""
        return abs(self.forecast / self.measured - 1)


def forecast(shapes: int, quantizations: int, say: Callable[[str], None]) -> Section:
    """The first SHAPES in the first QUANTIZATIONS."""
    with rpc_device() as endpoint, tempfile.TemporaryDirectory() as name:
        folder, lib = Path(name), library()
        lib.add_rpc_server(endpoint)
        models = {
            f"{shape} {quantization}": quantized(FORECAST_SHAPES[shape], quantization)
            for shape in list(FORECAST_SHAPES)[:shapes]
            for quantization in QUANTIZATIONS[:quantizations]
        }
        known = {name: _shape(model, folder) for name, model in models.items()}
        say("calibrating")
        calibration, took = _calibrated(lib, folder, TYPES)
        missing = set[str]().union(*(missing_types(shape, calibration) for shape in known.values()))
        calibration, took_more = _calibrated(lib, folder, missing) if missing else (calibration, 0.0)
        cells = list[Cell]()
        for each, model in models.items():
            say(f"measuring {each}")
            cells += _cells(lib, each, model, known[each], calibration)
    more = f", and {', '.join(sorted(missing))} in {took_more:.1f} s when a model needed them" if missing else ""
    return Section(
        title=f"Forecast against measured, {len(models)} models on the CPU and on an RPC device",
        rows=(*_summary(cells), *map(_row, cells)),
        notes=(f"Calibrated in {took:.1f} s, CPU and RPC device together{more}.",),
    )


def _calibrated(lib: Library, folder: Path, types: Collection[str]) -> tuple[Calibration, float]:
    """The calibration, which the folder keeps, and the seconds that it took."""
    started = time.monotonic()
    try:
        calibration = calibrate(lib, Stop(), types=types, store=SpeedStore(folder / "speed.json"))
    except EngineCrashed as exc:
        raise WorkerFailed(exc.message) from exc
    return calibration, time.monotonic() - started


def _shape(model: SparseModel, folder: Path) -> ModelShape:
    path = folder / "header.gguf"
    write_sparse(model, path)
    shape = read_shape([read_header(path)])
    assert shape is not None
    return shape


def _cells(lib: Library, name: str, model: SparseModel, shape: ModelShape, calibration: Calibration) -> Iterator[Cell]:
    """NAME on each device."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write(model, path)
        for device, layers in (("CPU", 0), ("RPC", ALL_LAYERS)):
            settings = PlanSettings(context=_CONTEXT, gpu_layers=layers)
            decode, prompt = _measure(lib, path, settings)
            depth = CHUNK + _TOKENS / 2
            expected = decode_seconds(shape, settings, calibration, depth)
            yield Cell(name=f"{name}, {device}", rate="decode", forecast=1 / expected, measured=1 / decode)
            expected = prompt_seconds(shape, settings, calibration, tokens=CHUNK)
            yield Cell(name=f"{name}, {device}", rate="prompt", forecast=CHUNK / expected, measured=CHUNK / prompt)


def _measure(lib: Library, path: Path, settings: PlanSettings) -> tuple[float, float]:
    """Seconds of a token, and of a prompt: of the fastest of several rounds."""
    model = LlamaModel(lib, path, settings, stop=Stop())
    context = Context(lib, model, size=settings.context, threads=usual_threads(model.size_bytes))
    vocabulary = int(lib.api.llama_vocab_n_tokens(lib.api.llama_model_get_vocab(model.pointer)))
    tokens = random.Random(0).choices(range(min(vocabulary, 30_000)), k=CHUNK)  # noqa: S311 - no secret
    with Sampler(lib, LLAMA_CPP_SAMPLING.seeded(), vocabulary) as sampler:
        prompts, decodes = [], []
        for _ in range(_ROUNDS):
            context.reuse_prefix([])
            started = time.perf_counter()
            for _ in context.prefill(tokens):
                pass
            sampler.sample(context.pointer)
            read = time.perf_counter()
            for token in tokens[:_TOKENS]:
                context.decode(token)
                sampler.sample(context.pointer)
            prompts.append(read - started)
            decodes.append((time.perf_counter() - read) / _TOKENS)
    context.close()
    model.close()
    return min(decodes), min(prompts)


def _summary(cells: Sequence[Cell]) -> Iterator[Row]:
    for rate, (median, worst) in _LIMITS.items():
        errors = [cell.error for cell in cells if cell.rate == rate]
        for words, error, limit in (("median", statistics.median(errors), median), ("worst", max(errors), worst)):
            measure, percent = f"{rate}: {words} error of {len(errors)}", 100 * error
            yield Row(measure=measure, unit="%", ours=percent, target=at_most(percent, 100 * limit, "%"))


def _row(cell: Cell) -> Row:
    ratio = cell.forecast / cell.measured
    return Row(
        measure=f"{cell.name}: {cell.rate}", unit="tok/s", ours=cell.forecast, peer=cell.measured, ratios=(ratio,)
    )
