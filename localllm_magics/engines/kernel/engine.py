"""A GGUF file, loaded into this process and asked through llama.cpp's C API."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import replace

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.errors import LocalLLMError, UsageError
from localllm_magics.core.events import Done, Event, Failed, Loading
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.preview import Preview
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.background import in_background
from localllm_magics.engines.kernel.decode import answer
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.worker import build_probe, file_probe
from localllm_magics.engines.kernel.worker.probe_results import ProbeResults

_TICK = 0.05  # seconds between looks at a load or a lock


class KernelEngine:
    """One model in this process; see `engines.base.Engine`.

    Args:
        info: A file whose header was read and has no problem.
        options: How to load it.
    """

    def __init__(self, info: ModelInfo, options: LoadOptions) -> None:
        self.options = options
        self._info = info
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None
        self._opening: Future[None] | None = None
        self._running: list[Stop] = []
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "loaded" if self._loaded else "not loaded"
        return f"<KernelEngine {self._info.reference} {state}>"

    @property
    def used(self) -> ModelUsed:
        """The model and its placement, as far as known."""
        info, loaded = self._info, self._loaded
        used = ModelUsed(
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
            return used
        place = loaded.placement
        return replace(used, device=place.device, gpu_layers=place.gpu_layers, context=loaded.context.size)

    @property
    def memory_bytes(self) -> int:
        """Bytes of weights, context and compute buffers, 0 when not loaded."""
        return self._loaded.placement.memory_bytes if self._loaded else 0

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how it runs."""
        return self._loaded.notices if self._loaded else ()

    def load(self, stop: Stop) -> Iterator[Event]:
        """Bring the model into memory; see `Engine.load`."""
        with self._turn(stop) as is_mine:
            if is_mine:
                yield from self._load(stop)

    def stream(self, request: Request, stop: Stop) -> Iterator[Event]:
        """Answer REQUEST; see `Engine.stream`."""
        recorder = Recorder(request, self.used)
        with self._turn(stop) as is_mine:
            if is_mine:
                yield from self._load(stop)
            if self._loaded is None or stop.is_set():
                yield Done(recorder.completion("stopped"))
                return
            recorder.loaded()
            lib = library()
            recorder.model, recorder.engine_version = self.used, f"llama-cpp-python {lib.version}"
            recorder.notices.extend(self._loaded.notices)
            try:
                yield from answer(lib, self._loaded, request, recorder, stop)
            except LocalLLMError as exc:
                recorder.end()
                yield Failed(exc, recorder.completion("error", exc))

    def preview(self, request: Request, stop: Stop) -> Preview:
        """The exact prompt and its tokens; loads the model where needed."""
        with self._turn(stop) as is_mine:
            for _ in self._load(stop) if is_mine else ():
                pass
            loaded = self._loaded
            if loaded is None or not is_mine:
                raise UsageError("The load was stopped.")
            try:
                prompt = loaded.prompt(request, stop)
            except Stopped as exc:
                raise UsageError("The preview was stopped.") from exc
            pieces = [loaded.tokenizer.token_to_piece(token, special=True) for token in prompt.tokens]
            return Preview(
                prompt=prompt.text,
                tokens=tuple(zip(prompt.tokens, (piece.decode("utf-8", "replace") for piece in pieces), strict=True)),
                context=loaded.context.size,
                sampling=loaded.resolve_sampling(request.sampling),
            )

    def with_options(self, options: LoadOptions) -> "KernelEngine":
        """A new engine for the same file; see `Engine.with_options`."""
        return KernelEngine(self._info, options)

    def look(self) -> str:
        """Nothing to do: what is in this process is known."""
        return ""

    def close(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
        self._closed = True
        for stop in tuple(self._running):
            stop.set()
        with self._lock:
            if self._opening is not None:
                wait_for([self._opening])
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                loaded.close()

    @contextmanager
    def _turn(self, stop: Stop) -> Iterator[bool]:
        """Wait for the one context that there is; whether it is ours, or STOP came first."""
        self._running.append(stop)
        is_mine = False
        try:
            while not is_mine and not stop.is_set():
                is_mine = self._lock.acquire(timeout=_TICK)
            if is_mine and self._closed:
                hint = f"Type: %llm load {self._info.reference}"
                raise UsageError(f"{self._info.reference} was unloaded.", hint)
            yield is_mine
        finally:
            self._running.remove(stop)
            if is_mine:
                self._lock.release()

    def _load(self, stop: Stop) -> Iterator[Event]:
        if self._opening is not None:
            yield from _progress(self._opening, [0.0], stop)  # a load that was stopped is still on its way out
        if self._loaded is not None or stop.is_set():
            return
        part = [0.0]
        yield Loading(0.0)
        try:
            self._opening = future = in_background(lambda: self._open(part, stop), "localllm-load")
            yield from _progress(future, part, stop)
        except BaseException:
            stop.set()
            raise
        if not future.done():
            return  # stopped while the library was imported, say, which nothing can stop
        try:
            future.result()
        except Stopped:
            return
        yield Loading(1.0)

    def _open(self, part: list[float], stop: Stop) -> None:
        lib = library()
        results = ProbeResults()
        repack = build_probe.passes(lib, results, stop)
        file_probe.require_pass(lib, self._info, self.options, results, stop)
        if stop.is_set():
            raise Stopped

        def progress(fraction: float) -> None:
            part[0] = fraction

        # Kept here and not by who waits for it: an interrupt there must not lose a model that is in memory.
        self._loaded = LoadedModel(lib, self._info, self.options, repack=repack, progress=progress, stop=stop)


def _progress(future: "Future[None]", part: list[float], stop: Stop) -> Iterator[Event]:
    shown = 0.0
    while wait_for([future], timeout=_TICK).not_done and not stop.is_set():
        if part[0] > shown:
            shown = min(part[0], 1.0)
            yield Loading(shown)
