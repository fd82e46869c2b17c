"""The decode loop: reads the prompt, then produces one token after another.

Stop strings end the reasoning of a model, too, as they do in llama-server.
"""

from collections.abc import Generator, Iterator

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import BadOption, LocalLLMError
from localllm_magics.core.events import Done, Event, Reading, ReasoningDelta, TextDelta
from localllm_magics.core.recorder import Recorder
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.detokenizer import Detokenizer
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.prompt import Prompt
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.reasoning_parser import ReasoningParser

_OPENING_TAG = "<think>"


def answer(lib: Library, loaded: LoadedModel, request: Request, recorder: Recorder, stop: Stop) -> Iterator[Event]:
    """The events of REQUEST from reading to `Done`.

    Raises:
        LocalLLMError: The prompt cannot be read, or llama.cpp failed.
    """
    if request.schema is not None:
        raise BadOption(
            "A model in this process cannot be bound to a schema yet.",
            "Use a server: %llm load ollama:NAME, for example.",
        )
    try:
        prompt = loaded.prompt(request, stop)
    except Stopped:
        yield Done(recorder.completion("stopped"))
        return
    recorder.notices.extend(prompt.notices)
    recorder.sampling = loaded.resolve_sampling(request.sampling).seeded()
    recorder.prompt_tokens = len(prompt.tokens)
    loaded.context.clear_abort()
    with stop.calling(loaded.context.abort):
        try:
            yield from _read(loaded, prompt.tokens, recorder)
        except Stopped:
            yield Done(recorder.completion("stopped"))
            return
        reason = yield from _decode(lib, loaded, recorder, _thinking(request, prompt), stop)
    recorder.end()
    yield Done(recorder.completion(reason))


def _read(loaded: LoadedModel, tokens: list[int], recorder: Recorder) -> Iterator[Event]:
    recorder.reading()
    cached = recorder.cached_tokens = loaded.context.reuse_prefix(tokens)
    yield Reading(cached, len(tokens), cached)
    for done in loaded.context.prefill(tokens):
        yield Reading(done, len(tokens), cached)
    recorder.read()


def _thinking(request: Request, prompt: Prompt) -> ReasoningParser:
    """What tells reasoning from answer; some templates write the tag that begins the reasoning themselves."""
    thinking = ReasoningParser(is_raw=request.raw)
    if prompt.text.rstrip().endswith(_OPENING_TAG):
        thinking.feed(TextDelta(_OPENING_TAG, 0))
    return thinking


def _decode(
    lib: Library, loaded: LoadedModel, recorder: Recorder, thinking: ReasoningParser, stop: Stop
) -> Generator[Event, None, FinishReason]:
    with Sampler(lib, recorder.sampling, loaded.tokenizer.size) as sampler:
        return (yield from _choose(sampler, loaded, recorder, thinking, stop))


def _choose(
    sampler: Sampler, loaded: LoadedModel, recorder: Recorder, thinking: ReasoningParser, stop: Stop
) -> Generator[Event, None, FinishReason]:
    decoder = Detokenizer(recorder.sampling.stop)
    context, tokenizer = loaded.context, loaded.tokenizer
    limit = min(recorder.sampling.max_tokens or context.size, context.size - context.n_past)
    reason: FinishReason | None = None
    fresh = 0  # tokens whose text was not given out yet
    try:
        while reason is None:
            token = sampler.sample(context.pointer)
            if tokenizer.is_eog(token):
                reason = "stop"
                break
            fresh += 1
            limit -= 1
            text = decoder.feed(tokenizer.token_to_piece(token))
            if text:
                yield from _taken(recorder, thinking.feed(TextDelta(text, fresh)))
                fresh = 0
            reason = _next(loaded, token, stopped=decoder.stopped, limit=limit, stop=stop)
    except LocalLLMError:
        yield from _taken(recorder, _held_back(decoder, thinking, fresh))
        raise
    yield from _taken(recorder, _held_back(decoder, thinking, fresh))
    return reason


def _held_back(decoder: Detokenizer, thinking: ReasoningParser, fresh: int) -> list[TextDelta | ReasoningDelta]:
    text = decoder.close()
    deltas = thinking.feed(TextDelta(text, fresh)) if text or fresh else []
    return [*deltas, *thinking.end()]


def _taken(recorder: Recorder, deltas: list[TextDelta | ReasoningDelta]) -> list[TextDelta | ReasoningDelta]:
    """DELTAS, taken down."""
    for delta in deltas:
        add = recorder.add if isinstance(delta, TextDelta) else recorder.think
        add(delta.text, delta.tokens)
    return deltas


def _next(loaded: LoadedModel, token: int, *, stopped: bool, limit: int, stop: Stop) -> FinishReason | None:
    """Append TOKEN, or say why it is the last."""
    if stopped:
        return "stop"
    if not limit:
        return "length"
    if stop.is_set():
        return "stopped"
    try:
        loaded.context.decode(token)
    except Stopped:
        return "stopped"
    return None
