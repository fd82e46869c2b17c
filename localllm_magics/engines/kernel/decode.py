"""Answers a request with a loaded model: prefill, then one decode after another."""

from collections.abc import Generator

from localllm_magics.core.completion import FinishReason
from localllm_magics.core.errors import BadOption, LocalLLMError
from localllm_magics.core.events import Delta, ProgressEvent, Reading
from localllm_magics.core.generation import Generation
from localllm_magics.core.request import Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.answer_state import AnswerState
from localllm_magics.engines.kernel.answer_marks import NO_MARKS, AnswerMarks
from localllm_magics.engines.kernel.context import Context
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from localllm_magics.engines.kernel.prompt import Prompt
from localllm_magics.engines.kernel.sampler import Sampler
from localllm_magics.engines.reasoning_parser import ReasoningParser


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
    generation.sampling = sampling = request.sampling.or_else(loaded.sampling).seeded()
    context, tokens = loaded.context, prompt.tokens
    context.clear_abort()
    with stop.calling(context.abort), Sampler(lib, sampling, loaded.tokenizer.size) as sampler:
        cached = context.reuse_prefix(tokens)
        yield Reading(cached, len(tokens), cached)
        for done in context.prefill(tokens):
            yield Reading(done, len(tokens), cached)
            stop.check()  # not every device checks the abort flag
        marks = NO_MARKS if request.raw else loaded.marks(stop)
        state = _new_state(request, prompt, sampling, context, marks)
        return (yield from _decode(loaded, sampler, state, marks, stop))


def _new_state(
    request: Request, prompt: Prompt, sampling: Sampling, context: Context, marks: AnswerMarks
) -> AnswerState:
    reasoning = ReasoningParser(is_raw=request.raw, sections=marks.sections, prompt=prompt.generation_prompt)
    max_tokens = min(sampling.max_tokens or context.size, context.size - context.n_past)
    return AnswerState(max_tokens=max_tokens, stop=(*sampling.stop, *marks.end_texts), reasoning=reasoning)


def _decode(
    loaded: LoadedModel, sampler: Sampler, state: AnswerState, marks: AnswerMarks, stop: Stop
) -> Generator[Delta, None, FinishReason]:
    context, tokenizer, control = loaded.context, loaded.tokenizer, marks.control
    try:
        while True:
            token = sampler.sample(context.pointer)
            if token in control:
                yield from state.feed(control[token], is_control=True)
            else:
                is_eog = tokenizer.is_eog(token) or token in marks.end_tokens
                yield from state.feed(b"" if is_eog else tokenizer.token_to_piece(token), is_eog=is_eog)
            if state.finish_reason is not None:
                return state.finish_reason
            stop.check()
            context.decode(token)
    except (LocalLLMError, Stopped):
        yield from state.close()
        raise
