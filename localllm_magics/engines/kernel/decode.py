"""The decode loop: reads the prompt, then produces one token after another.

Stop strings end the reasoning of a model, too, as they do in llama-server.
"""

from collections.abc import Generator, Iterator

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import BadOption, LocalLLMError
from localllm_magics.core.events import Delta, ProgressEvent, Reading, TextDelta
from localllm_magics.core.generation import Generation
from localllm_magics.core.request import Request
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.detokenizer import Detokenizer
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.prompt import Prompt
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.reasoning_parser import ReasoningParser

_OPENING_TAG = "<think>"


def answer(
    lib: Library, loaded: LoadedModel, generation: Generation, stop: Stop
) -> Generator[ProgressEvent, None, FinishReason]:
    """The events from prefill to the last token.

    Raises:
        LocalLLMError: The prompt cannot be read, or llama.cpp failed.
        Stopped: STOP was set.
    """
    request = generation.request
    if request.schema is not None:
        raise BadOption(
            "A model in this process cannot be bound to a schema yet.",
            "Use a server: %llm load ollama:NAME, for example.",
        )
    prompt = loaded.prompt(request, stop)
    generation.notices.extend(prompt.notices)
    generation.sampling = loaded.resolve_sampling(request.sampling).seeded()
    loaded.context.clear_abort()
    with stop.calling(loaded.context.abort):
        yield from _prefill(loaded, prompt.tokens)
        with Sampler(lib, generation.sampling, loaded.tokenizer.size) as sampler:
            return (yield from _decode(sampler, loaded, generation, _thinking(request, prompt), stop))


def _prefill(loaded: LoadedModel, tokens: list[int]) -> Iterator[Reading]:
    cached = loaded.context.reuse_prefix(tokens)
    yield Reading(cached, len(tokens), cached)
    for done in loaded.context.prefill(tokens):
        yield Reading(done, len(tokens), cached)


def _thinking(request: Request, prompt: Prompt) -> ReasoningParser:
    """What tells reasoning from answer; some templates write the tag that begins the reasoning themselves."""
    thinking = ReasoningParser(is_raw=request.raw)
    if prompt.text.rstrip().endswith(_OPENING_TAG):
        thinking.feed(TextDelta(_OPENING_TAG, 0))
    return thinking


def _decode(
    sampler: Sampler, loaded: LoadedModel, generation: Generation, thinking: ReasoningParser, stop: Stop
) -> Generator[Delta, None, FinishReason]:
    sampling = generation.sampling
    decoder = Detokenizer(sampling.stop)
    context, tokenizer = loaded.context, loaded.tokenizer
    limit = min(sampling.max_tokens or context.size, context.size - context.n_past)
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
                yield from thinking.feed(TextDelta(text, fresh))
                fresh = 0
            reason = _next(loaded, token, stopped=decoder.stopped, limit=limit, stop=stop)
    except (LocalLLMError, Stopped):
        yield from _held_back(decoder, thinking, fresh)
        raise
    yield from _held_back(decoder, thinking, fresh)
    return reason


def _held_back(decoder: Detokenizer, thinking: ReasoningParser, fresh: int) -> list[Delta]:
    text = decoder.close()
    deltas = thinking.feed(TextDelta(text, fresh)) if text or fresh else []
    return [*deltas, *thinking.end()]


def _next(loaded: LoadedModel, token: int, *, stopped: bool, limit: int, stop: Stop) -> FinishReason | None:
    """Append TOKEN, or say why it is the last."""
    if stopped:
        return "stop"
    if not limit:
        return "length"
    stop.check()
    loaded.context.decode(token)
    return None
