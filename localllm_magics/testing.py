"""A scripted engine, to test notebooks and programs without a model.

from localllm_magics.testing import ScriptedEngine, scripted_model

with scripted_model("Hello!") as model:
    assert model.complete("Hi").text == "Hello!"
    # %%llm scripted answers the same way
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from localllm_magics.core.completion import ModelUsed
from localllm_magics.core.errors import LocalLLMError
from localllm_magics.core.events import Done, Event, Loading, Reading, TextDelta
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.preview import Preview
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import LLAMA_CPP_SAMPLING, LoadOptions, Request
from localllm_magics.core.stop import Stop
from localllm_magics.engines.detokenizer import Detokenizer
from localllm_magics.model import Model
from localllm_magics.session import default_session

__all__ = ["ScriptedEngine", "scripted_model"]


class ScriptedEngine:
    """An engine that says what it was told to, one word a token.

    Args:
        answers: What to say, one for each request; the last one repeats. An error is raised before the first token.
        reference: What a user types to name it.
        hangs_after: Wait for a stop after so many tokens; None never does.
    """

    def __init__(
        self, *answers: str | LocalLLMError, reference: str = "scripted", hangs_after: int | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.options = LoadOptions(ctx=1024)
        self.notices: tuple[str, ...] = ()
        self.memory_bytes = 0
        self._answers = answers or ("",)
        self._reference = reference
        self._hangs_after = hangs_after
        self._running: list[Stop] = []

    @property
    def used(self) -> ModelUsed:
        """A model with a name and a context."""
        return ModelUsed(
            reference=self._reference, name=self._reference, engine="scripted", device="script", context=1024
        )

    def load(self, stop: Stop) -> Iterator[Event]:
        """Takes no time."""
        if not stop.is_set():
            yield Loading(1.0)

    def stream(self, request: Request, stop: Stop) -> Iterator[Event]:
        """The next answer, word by word."""
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        recorder = Recorder(request, self.used, engine_version="scripted")
        recorder.sampling = request.sampling.or_else(LLAMA_CPP_SAMPLING)
        yield from self.load(stop)
        if isinstance(answer, LocalLLMError):
            raise answer
        recorder.prompt_tokens = len(_words(request.messages[-1].content))
        recorder.reading()
        yield Reading(recorder.prompt_tokens, recorder.prompt_tokens)
        text = Detokenizer(request.sampling.stop)
        for event in self._say(answer, text, request.sampling.max_tokens, stop):
            recorder.take(event)
            yield event
        limit = request.sampling.max_tokens
        was_cut = limit is not None and recorder.tokens == limit < len(_words(answer)) and not text.stopped
        yield Done(recorder.completion("stopped" if stop.is_set() else "length" if was_cut else "stop"))

    def _say(self, answer: str, text: Detokenizer, limit: int | None, stop: Stop) -> Iterator[TextDelta]:
        self._running.append(stop)
        for count, word in enumerate(_words(answer)):
            if count == self._hangs_after:
                stop.wait(None)
            if stop.is_set() or count == limit or text.stopped:
                break
            yield TextDelta(text.feed(word.encode()), 1)
        self._running.remove(stop)
        held = text.close()
        if held:
            yield TextDelta(held, 0)

    def preview(self, request: Request, stop: Stop) -> Preview:  # noqa: ARG002 - the seam's signature
        """The last message, one word a token."""
        prompt = request.messages[-1].content
        return Preview(
            prompt=prompt,
            tokens=tuple(enumerate(_words(prompt))),
            context=1024,
            sampling=request.sampling.or_else(LLAMA_CPP_SAMPLING),
        )

    def with_options(self, options: LoadOptions) -> "ScriptedEngine":
        """The same script from the start; nothing depends on OPTIONS."""
        engine = ScriptedEngine(*self._answers, reference=self._reference, hangs_after=self._hangs_after)
        engine.options = options
        return engine

    def look(self) -> str:
        """Nothing changes by itself."""
        return ""

    def close(self) -> None:
        """Stop what runs; there is nothing else to give back."""
        for stop in tuple(self._running):
            stop.set()


@contextmanager
def scripted_model(
    *answers: str | LocalLLMError, reference: str = "scripted", hangs_after: int | None = None
) -> Iterator[Model]:
    """A loaded model that says ANSWERS; `%%llm` finds it by REFERENCE until the block ends."""
    engine = ScriptedEngine(*answers, reference=reference, hangs_after=hangs_after)
    model = Model(engine, ModelInfo(reference=reference, name=reference, source="bundled"))
    default_session().add(model)
    try:
        yield model
    finally:
        if not model.is_unloaded:
            default_session().unload(reference)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)
