"""A scripted engine and files without weights, to test notebooks and programs without a model.

from localllm_magics.testing import ScriptedEngine, scripted_model

with scripted_model("Hello!") as model:
    assert model.complete("Hi").text == "Hello!"
    # %%llm scripted answers the same way
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from localllm_magics.core.completion import FinishReason, ModelUsed
from localllm_magics.core.errors import BadOption, LocalLLMError
from localllm_magics.core.events import Loading, ProgressEvent, Reading, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.ggml_types import MULTIPLIED_TYPES, TENSOR_TYPES
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import LLAMA_CPP_SAMPLING
from localllm_magics.core.stop import Stop
from localllm_magics.engines.base import EngineStatus, Preview
from localllm_magics.engines.detokenizer import Detokenizer
from localllm_magics.engines.kernel.worker.hollow_model import HollowShape, hollow_model
from localllm_magics.engines.lifetime import Lifetime
from localllm_magics.engines.sparse_gguf import write_sparse
from localllm_magics.model import Model
from localllm_magics.session import default_session

__all__ = ["ScriptedEngine", "scripted_model", "write_sparse_model"]


class ScriptedEngine:
    """An engine that answers by a script, one word a token.

    Args:
        answers: What to say, one for each request; the last one repeats. An error is raised before the first token.
        reference: What a user types to name it.
        hangs_after: Wait for a stop after so many tokens; None never does.
    """

    def __init__(
        self, *answers: str | LocalLLMError, reference: str = "scripted", hangs_after: int | None = None
    ) -> None:
        self.requests: list[Request] = []
        self._options = LoadOptions()
        self._answers = answers or ("",)
        self._reference = reference
        self._hangs_after = hangs_after
        self._lifetime = Lifetime(reference)

    def status(self, *, refresh: bool = False) -> EngineStatus:  # noqa: ARG002 - nothing changes by itself
        """A model with a name and a context."""
        name = self._reference
        model = ModelUsed(reference=name, name=name, engine="scripted", device="script", context=1024)
        return EngineStatus(model=model, options=self._options)

    def load(self, stop: Stop) -> Iterator[Loading]:
        """Takes no time."""
        stop.check()
        yield Loading(1.0)

    def stream(self, generation: Generation, stop: Stop) -> Generator[ProgressEvent, None, FinishReason]:
        """The next answer, word by word."""
        request = generation.request
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        generation.engine_version = "scripted"
        generation.sampling = sampling = request.sampling.or_else(LLAMA_CPP_SAMPLING)
        with self._lifetime.using(stop):
            yield from self.load(stop)
            if isinstance(answer, LocalLLMError):
                raise answer
            prompt_tokens = len(_words(request.messages[-1].text))
            yield Reading(prompt_tokens, prompt_tokens)
            return (yield from self._say(_words(answer), Detokenizer(sampling.stop), sampling.max_tokens, stop))

    def _say(
        self, words: list[str], detokenizer: Detokenizer, limit: int | None, stop: Stop
    ) -> Generator[TextDelta, None, FinishReason]:
        for count, word in enumerate(words):
            if count == self._hangs_after:
                stop.wait(None)
            stop.check()
            yield TextDelta(detokenizer.feed(word.encode()), 1)
            if detokenizer.stopped:
                return "stop"
            if count + 1 == limit:
                break
        if held := detokenizer.close():
            yield TextDelta(held, 0)
        return "length" if limit is not None and limit < len(words) else "stop"

    def preview(self, request: Request, stop: Stop) -> Preview:  # noqa: ARG002 - the seam's signature
        """The last message, one word a token."""
        prompt, sampling = request.messages[-1].text, request.sampling.or_else(LLAMA_CPP_SAMPLING)
        return Preview(prompt=prompt, tokens=tuple(enumerate(_words(prompt))), context=1024, sampling=sampling)

    def with_options(self, options: LoadOptions) -> "ScriptedEngine":
        """The same script from the start; nothing depends on OPTIONS."""
        engine = ScriptedEngine(*self._answers, reference=self._reference, hangs_after=self._hangs_after)
        engine._options = options
        return engine

    def close(self) -> None:
        """Stop what runs; there is nothing else to give back."""
        self._lifetime.end()


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
        default_session().remove(model)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def write_sparse_model(
    path: Path, *, layers: int = 32, width: int = 4096, inner_width: int = 14_336, quantization: str = "Q4_0"
) -> int:
    """Write a GGUF file with the header of a Llama model of these sizes, and a hole in the place of its weights.

    It is as large as the real one and takes no room on the disk, to test what lists models and tells what fits. It has
    no vocabulary, so that it cannot answer.

    Args:
        path: The file.
        layers: How many.
        width: Elements of an embedding.
        inner_width: Elements of a feed-forward layer.
        quantization: The type of the matrices, as `Q4_0`.

    Returns:
        Its size in bytes.

    Raises:
        BadOption: There is no such type, or its blocks do not divide the widths.
    """
    if quantization not in MULTIPLIED_TYPES:
        raise BadOption(f"Matrices have no type {quantization!r}.", f"Types: {', '.join(sorted(MULTIPLIED_TYPES))}.")
    block = TENSOR_TYPES[quantization].block
    for size in (width, inner_width):
        if size % block:
            raise BadOption(f"A matrix of {quantization} cannot be {size} wide.", f"Choose a multiple of {block}.")
    shape = HollowShape(
        type=quantization,
        layers=layers,
        width=width,
        inner_width=inner_width,
        head_width=128,
        kv_width=min(width, 1024),
        vocabulary=128_256,
        context=131_072,
    )
    return write_sparse(hollow_model(shape), path)
