"""A GGUF file, loaded into this process and asked through llama.cpp's C API."""

import shlex
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import replace

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.events import Loading, ProgressEvent
from localllm_magics.core.fork import repair_after_fork
from localllm_magics.core.generation import Generation
from localllm_magics.core.memory_plan import Compared, MemoryPlan
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop, poll
from localllm_magics.engines.background import in_background
from localllm_magics.engines.base import EngineStatus, MakeRoom, Preview
from localllm_magics.engines.file_stamp import read_stamp
from localllm_magics.engines.forecast.answers import Measured, learn_from
from localllm_magics.engines.forecast.stored import SpeedStore, speed_key
from localllm_magics.engines.kernel.decode import answer
from localllm_magics.engines.kernel.footprint import Footprint
from localllm_magics.engines.kernel.idle_threads import give_back_idle_threads
from localllm_magics.engines.kernel.library import Library, library
from localllm_magics.engines.kernel.load_thread import LoadThread
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.machine_memory import host_memory, machine_memory
from localllm_magics.engines.kernel.plan import (
    load_settings,
    planned_load,
    require_room_for_library,
)
from localllm_magics.engines.kernel.weights_cache import extract_weights
from localllm_magics.engines.kernel.worker import build_probe, file_probe
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults
from localllm_magics.engines.lifetime import Lifetime


class KernelEngine:
    """One model in this process; see `engines.base.Engine`.

    Args:
        info: A file whose header was read and has no problem.
        options: How to load it.
        make_room: Called before what a load needs is compared with what is free.
        at_load: Called in the thread of a load when it begins and when it has ended.
    """

    def __init__(
        self,
        info: ModelInfo,
        options: LoadOptions,
        make_room: MakeRoom = lambda _plan, _is_forced: None,
        at_load: Callable[[], None] = lambda: None,
    ) -> None:
        self._options = options
        self._make_room = make_room
        self._at_load = at_load
        self._is_loading = False
        self._info = info
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None
        self._footprint: Footprint | None = None
        self._opening: Future[None] | None = None
        self._load_thread = LoadThread()
        self._compared: Compared | None = None
        self._speed_key = ""
        self._lifetime = Lifetime(info.reference)
        repair_after_fork(self)

    def __repr__(self) -> str:
        return f"<KernelEngine {self._info.reference} {'loaded' if self._loaded else 'not loaded'}>"

    def status(self, *, refresh: bool = False) -> EngineStatus:  # noqa: ARG002 - what is in this process is known
        """The model and its placement, as far as known."""
        info, loaded = self._info, self._loaded
        model = ModelUsed(
            reference=info.reference,
            name=info.name,
            engine="kernel",
            architecture=info.architecture,
            quantization=info.quantization,
            size_bytes=info.size_bytes,
            parameters=info.parameters,
            layers=info.layers,
        )
        if loaded is None:
            unreturned = self._footprint.unreturned_bytes if self._footprint else 0
            is_loading = self._is_loading
            return EngineStatus(model=model, options=self._options, is_loading=is_loading, unreturned_bytes=unreturned)
        placement = loaded.placement
        return EngineStatus(
            model=replace(model, device=placement.device, gpu_layers=placement.gpu_layers, context=loaded.context.size),
            options=self._options,
            memory_bytes=placement.memory_bytes,
            device_bytes=placement.device_bytes,
            planned_bytes=loaded.planned_bytes,
            compared=self._compared,
            notices=loaded.notices,
        )

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Bring the model into memory; see `Engine.load`."""
        with self._turn(stop):
            yield from self._load(stop)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """Answer a request; see `Engine.stream`."""
        give_back_idle_threads()
        return self._stream(generation, stop)

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The exact prompt and its tokens; loads the model where needed."""
        with self._turn(stop):
            for _ in self._load(stop):
                pass
            loaded = self._require_loaded()
            prompt = loaded.prompt(request, stop)
            return Preview(
                prompt=prompt.text,
                tokens=tuple((token, loaded.tokenizer.to_text(token)) for token in prompt.tokens),
                context=loaded.context.size,
                sampling=request.sampling.or_else(loaded.sampling),
                notices=prompt.notices,
            )

    def with_options(self, options: LoadOptions) -> "KernelEngine":
        """A new engine for the same file; see `Engine.with_options`.

        Raises:
            NotEnoughMemory: It would not fit with OPTIONS, even into what this engine gives back.
        """
        loaded = self._loaded
        if loaded is not None and options != self._options:
            self._require_room(library(), options, loaded.returned_bytes)
        return KernelEngine(self._info, options, self._make_room, self._at_load)

    def close(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
        self._lifetime.end()
        with self._lock:
            if self._opening is not None:
                wait_for([self._opening])
            loaded, self._loaded = self._loaded, None
            if loaded is not None and self._footprint is not None:
                with self._footprint.giving_back():
                    loaded.close()
                    self._load_thread.end()

    def after_fork(self) -> None:
        """Load the model again when it is next used, unless nobody was using it; see `Forkable`."""
        loaded = self._loaded
        if self._lock.locked() or (loaded is not None and loaded.placement.device != "CPU"):
            self._loaded = None  # and not closed: its state is that of a moment in another thread, or of a GPU
        self._lock, self._opening, self._is_loading = threading.Lock(), None, False

    @contextmanager
    def _turn(self, stop: Stop) -> Iterator[None]:
        """Wait for the one context that there is."""
        with self._lifetime.using(stop):
            lock = self._lock
            for _ in poll(lambda seconds: lock.acquire(timeout=seconds), stop):
                pass
            try:
                self._lifetime.check()
                yield
            finally:
                lock.release()

    def _stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        with self._turn(stop):
            yield from self._load(stop)
            lib, loaded = library(), self._require_loaded()
            generation.model, generation.engine_version = self.status().model, f"llama-cpp-python {lib.version}"
            reason = yield from answer(lib, loaded, generation, stop)
            self._compare(loaded, generation)
            return reason

    def _compare(self, loaded: LoadedModel, generation: Generation) -> None:
        """Learn from an answer how fast this machine is."""
        shape, measured = self._info.shape, Measured.of(generation)
        if shape is not None and self._options.threads is None:
            # The answer is whole, and what was stored may be damaged.
            with suppress(ArithmeticError, LookupError, TypeError, ValueError):
                compared = learn_from(measured, shape, loaded.settings, self._speed_key, SpeedStore())
                self._compared = compared or self._compared

    def _require_loaded(self) -> LoadedModel:
        assert self._loaded is not None  # noqa: S101 - a load ends with a model, or raises
        return self._loaded

    def _load(self, stop: Stop) -> Iterator[Loading]:
        if self._opening is not None:
            yield from _progress(self._opening, [0.0], stop)  # a load that was stopped has not ended yet
        if self._loaded is not None:
            return
        loaded = [0.0]
        yield Loading(0.0)
        wait = self._load_thread.wait
        self._opening = future = in_background(lambda: self._open(loaded, stop), "localllm-load", then=wait)
        try:
            yield from _progress(future, loaded, stop)
        except BaseException:
            stop.set()
            raise
        future.result()
        yield Loading(1.0)

    def _library(self) -> Library:
        """The build, once there is room for it and for the model."""
        if "llama_cpp" not in sys.modules:  # else there are other models, perhaps, that may leave first
            require_room_for_library(self._info.reference, host_memory())
        lib = library()
        self._require_room(lib, self._options, {})
        return lib

    def _require_room(self, lib: Library, options: LoadOptions, returned: Mapping[str, int]) -> None:
        """Have others leave for a load with OPTIONS, and refuse it where even so there is no room.

        Args:
            lib: The build.
            options: How it would be loaded.
            returned: Bytes that are given back before, by the name of the memory.
        """
        info = self._info

        def plan() -> MemoryPlan:
            return planned_load(info, options, machine_memory(lib).with_returned(returned))

        self._make_room(plan, bool(options.force))
        load_settings(info, options, machine_memory(lib).with_returned(returned), repack=True)

    def _open(self, loaded: list[float], stop: Stop) -> None:
        self._is_loading = True
        try:
            self._at_load()
            self._bring_in(loaded, stop)
        finally:
            self._is_loading = False
            self._at_load()

    def _bring_in(self, loaded: list[float], stop: Stop) -> None:
        lib, results = self._library(), ProbeResults()
        repack = build_probe.passes(lib, results, stop)
        info = _with_file_of_its_own(self._info, loaded, stop)
        file_probe.require_pass(lib, info, self._options, results, stop)
        start = loaded[-1]

        def report(part: float) -> None:
            loaded.append(start + (1 - start) * part)

        self._footprint = footprint = Footprint()
        # Stored here and not by who waits for it: an interrupt there must not lose a model that is in memory.
        self._loaded = loaded_model = LoadedModel(lib, info, self._options, repack=repack, progress=report, stop=stop)
        self._speed_key = speed_key(lib)
        footprint.end_load(loaded_model.placement.memory_bytes)
        self._load_thread.keep()


def _with_file_of_its_own(info: ModelInfo, loaded: list[float], stop: Stop) -> ModelInfo:
    """INFO, where it is of a llamafile with a copy of the weights in it, which is the first half of the load."""
    if info.path is None or info.path.suffix.lower() != ".llamafile":
        return info

    def report(part: float) -> None:
        stop.check()
        loaded.append(part / 2)

    path = extract_weights(info.path, progress=report)
    stamps = tuple(filter(None, [read_stamp(path)]))
    hint = f"It has a llama.cpp of its own. To run that, type: %llm load llamafile:{shlex.quote(str(info.path))}"
    return replace(info, path=path, files=stamps, defaults=replace(info.defaults, load_hint=hint))


def _progress(future: "Future[None]", loaded: list[float], stop: Stop) -> Iterator[Loading]:
    """The last part of LOADED, each time that it has changed, until FUTURE is done."""
    shown = 0.0
    for _ in poll(lambda seconds: not wait_for([future], timeout=seconds).not_done, stop):
        if loaded[-1] > shown:
            shown = loaded[-1]
            yield Loading(shown)
