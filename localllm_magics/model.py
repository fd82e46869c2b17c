"""A model that can be asked."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypedDict

from localllm_magics.core.completion import Completion
from localllm_magics.core.errors import BadOption
from localllm_magics.core.events import Event
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.preview import Preview
from localllm_magics.core.request import LoadOptions, MessageDict, Request, Sampling, to_messages
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import Engine
from localllm_magics.engines.stream import Stream

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SamplingOptions(TypedDict, total=False):
    """What `complete` and `stream` take; see `core.request.Sampling` for meanings and ranges."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    seed: int
    max_tokens: int
    stop: str | Sequence[str]


class Model:
    """A language model; a context manager that unloads it.

    Args:
        engine: What runs it.
        info: What is known of it.
    """

    def __init__(self, engine: Engine, info: ModelInfo) -> None:
        self.info = info
        self.is_unloaded = False
        self._engine = engine

    def __repr__(self) -> str:
        used = self._engine.used
        state = "unloaded" if self.is_unloaded else f"{used.device or 'not loaded'}, context {used.context}"
        return f"<Model {self.info.reference}: {state}>"

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        return self.info.path

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self._engine

    @property
    def options(self) -> LoadOptions:
        """How it was asked to be loaded."""
        return self._engine.options

    @property
    def gpu_layers(self) -> int | None:
        """Layers that really are on a GPU; None before it is loaded."""
        return self._engine.used.gpu_layers

    @property
    def context(self) -> int | None:
        """Tokens of context; None before it is loaded."""
        return self._engine.used.context

    @property
    def memory_bytes(self) -> int:
        """Bytes that it holds now."""
        return self._engine.memory_bytes

    def load(self, watch: Callable[[Event], None] | None = None) -> None:
        """Bring it into memory now rather than with the first prompt.

        Args:
            watch: Called with each event of the load.

        Raises:
            LocalLLMError: It cannot be loaded.
        """
        for event in self._engine.load(Stop()):
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
        messages, values = to_messages(prompt, system), to_sampling(sampling)
        return self.start(Request(messages=messages, sampling=values, raw=raw, think=think, schema=schema))

    def start(self, request: Request) -> Stream:
        """Answer REQUEST in a thread of its own."""
        return Stream(self._engine, request)

    def reload(self, options: LoadOptions) -> None:
        """Take it out of memory, to be loaded with OPTIONS when it is next used; what runs is stopped."""
        engine = self._engine
        self._engine = engine.with_options(options)
        engine.close()

    def preview(self, request: Request) -> Preview:
        """What REQUEST would send; generates nothing."""
        return self._engine.preview(request, Stop())

    def unload(self) -> None:
        """Stop what runs and give the memory back; again is no error."""
        self.is_unloaded = True
        self._engine.close()


def to_sampling(options: Mapping[str, object]) -> Sampling:
    """OPTIONS by name as a value.

    Raises:
        BadOption: A name is unknown, or a value out of range.
    """
    names = [f.name for f in fields(Sampling)]
    for name in options:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, 1)
            hint = f"Did you mean {nearest[0]}?" if nearest else f"Known options: {', '.join(names)}."
            raise BadOption(f"There is no option {name!r}.", hint)
    values = dict(options)
    stop = values.get("stop") or ()
    if not isinstance(stop, str | Iterable):
        raise BadOption(f"--stop must be a text or a list of texts, not {stop!r}.", 'Try --stop "END".')
    values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return Sampling(**values)  # type: ignore[arg-type] # names were checked, values check themselves
