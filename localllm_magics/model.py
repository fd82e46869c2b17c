"""A model that can be asked."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from localllm_magics.activity import Activity
from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import UsageError
from localllm_magics.core.events import Loading
from localllm_magics.core.exhausted import in_words
from localllm_magics.core.generation import Generation
from localllm_magics.core.messages import MessageDict, to_messages
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling, SamplingOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.base import Engine, EngineStatus, Preview
from localllm_magics.engines.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Model:
    """A language model; a context manager that unloads it.

    Args:
        engine: What runs it.
        info: What is known of it.
        clock: Seconds on a clock that does not jump.
        at_end: Called after each use, such as an answer.

    A pinned one, `is_pinned`, stays in memory until it is unloaded. `absence` says why it has left memory, where that
    was to make room, or because nothing used it; it is loaded again when it is next used.
    """

    def __init__(
        self,
        engine: Engine,
        info: ModelInfo,
        clock: Callable[[], float] = time.monotonic,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.info = info
        self.is_pinned = False
        self.is_unloaded = False
        self.absence = ""
        self.activity = Activity(clock, at_end)
        self._engine = engine

    def __repr__(self) -> str:
        used = self._engine.status().model
        state = "unloaded" if self.is_unloaded else f"{used.device or 'not loaded'}, context {used.context}"
        return f"<Model {self.info.reference}: {state}{', pinned' * self.is_pinned}>"

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.unload()

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        return self.info.path

    @property
    def options(self) -> LoadOptions:
        """How it was asked to be loaded."""
        return self._engine.status().options

    @property
    def gpu_layers(self) -> int | None:
        """Layers that really are on a GPU; None before it is loaded."""
        return self._engine.status().model.gpu_layers

    @property
    def context(self) -> int | None:
        """Tokens of context; None before it is loaded."""
        return self._engine.status().model.context

    @property
    def memory_bytes(self) -> int:
        """Bytes that it holds now."""
        return self._engine.status().memory_bytes

    def status(self, *, refresh: bool = False) -> EngineStatus:
        """What is known of it and its placement; REFRESH asks its server, which takes up to a second."""
        return self._engine.status(refresh=refresh)

    @property
    def is_loaded(self) -> bool:
        """Whether it is known to be in memory, here or on its server."""
        return self._engine.status().model.device is not None

    @property
    def is_loading(self) -> bool:
        """Whether it is being loaded into this process now."""
        return self._engine.status().is_loading

    def load(self, watch: Callable[[Loading], None] | None = None, stop: Stop | None = None) -> None:
        """Bring it into memory now rather than with the first prompt.

        Args:
            watch: Called with each event of the load.
            stop: Ends the load when it is set.

        Raises:
            LocalLLMError: It cannot be loaded.
        """
        with self.activity.using(), _raising(f"The load of {self.info.reference} was stopped."):
            for event in self._engine.load(stop or Stop()):
                if watch is not None:
                    watch(event)

    def complete(
        self,
        prompt: str | Sequence[MessageDict],
        *,
        system: str | None = None,
        raw: bool = False,
        think: bool | None = None,
        schema: Mapping[str, object] | None = None,
        **sampling: "Unpack[SamplingOptions]",
    ) -> Completion:
        """Answer PROMPT and wait for the end.

        Args:
            prompt: A string, or messages with `role` and `content`.
            system: A system prompt.
            raw: Continue the text of PROMPT, without a chat template.
            think: Whether a reasoning model shall reason; by default it decides.
            schema: A JSON Schema that the answer follows; `Completion.value` has the object. Servers only.
            **sampling: See `SamplingOptions`.

        Raises:
            LocalLLMError: The generation failed; its `partial_text` is what there was by then.
        """
        with self.stream(prompt, system=system, raw=raw, think=think, schema=schema, **sampling) as stream:
            return stream.completion()

    def stream(
        self,
        prompt: str | Sequence[MessageDict],
        *,
        system: str | None = None,
        raw: bool = False,
        think: bool | None = None,
        schema: Mapping[str, object] | None = None,
        **sampling: "Unpack[SamplingOptions]",
    ) -> Stream:
        """Answer PROMPT event by event; arguments as for `complete`.

        Returns:
            A context manager and an iterable of events with exactly one terminal one, the last.
        """
        messages, values = to_messages(prompt, system), Sampling.from_options(sampling)
        request = Request(messages=messages, sampling=values, raw=raw, think=think, schema=schema)
        return self.start(Generation(request, self._engine.status().model))

    def start(self, generation: Generation) -> Stream:
        """Make GENERATION, which nobody has begun, in a thread of its own."""
        notices = generation.notices
        self.activity.begin(notices)
        try:
            with in_words():
                return Stream(self._engine, generation, at_end=lambda: self.activity.end(notices))
        except BaseException:
            self.activity.end(notices)
            raise

    def reload(self, options: LoadOptions) -> None:
        """Take it out of memory, to be loaded with OPTIONS when it is next used; what runs is stopped."""
        self._replace_engine(options).close()

    def preview(self, request: Request) -> Preview:
        """What REQUEST would send; generates nothing."""
        with self.activity.using(), _raising("The preview was stopped."):
            return self._engine.preview(request, Stop())

    def release(self, unused_since: float, why: str) -> bool:
        """Take it out of memory, until it is next used, unless something uses it or has since UNUSED_SINCE.

        Args:
            unused_since: The end of its last use, `activity.last_used`.
            why: What `absence` says from now on.

        Returns:
            Whether it has left.
        """
        with self.activity.unused(unused_since) as is_unused:
            if not is_unused or self.is_unloaded:
                return False
            engine, self.absence = self._replace_engine(self.options), why
        engine.close()
        return True

    def unload(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
        self.is_unloaded = True
        self._engine.close()

    def _replace_engine(self, options: LoadOptions) -> Engine:
        """Put a new engine, with OPTIONS, in the place of the one that it had; that one."""
        engine = self._engine
        self._engine = engine.with_options(options)
        if self.is_unloaded:  # meanwhile
            self._engine.close()
        return engine


@contextmanager
def _raising(message: str) -> Iterator[None]:
    """Raise `UsageError` with MESSAGE where somebody else has stopped the block, by an unload for one."""
    try:
        with in_words():
            yield
    except Stopped as exc:
        raise UsageError(message) from exc
