"""How far a generation is: the one value that status lines, widgets and the JupyterLab extension render."""

from dataclasses import asdict, dataclass

from localllm_magics.core.completion import ModelUsed, per_second
from localllm_magics.core.generation import Generation, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A generation at one moment; None is not known.

    Args:
        seconds: How long it has been in its state.
        quiet_seconds: How long nothing has come from the engine.
        loaded: The loaded part of the model, from 0 to 1, and 0 where nobody reports it.
        prompt_done: Prompt tokens processed, those from a cache included.
        prompt_total: All prompt tokens, 0 where nobody reports them.
        prompt_cached: Prompt tokens from a cache.
        prompt_tokens_per_second: The prefill rate, without the cached tokens.
        tokens: Tokens decoded so far, of the reasoning too.
        tokens_per_second: The decode rate.
        is_estimated: Whether tokens and rate are an estimate.
        is_reasoning: Whether all text so far is reasoning.
        ttft_seconds: From the start to the first token.
        context_used: Tokens in the context window.
    """

    id: str
    state: State
    seconds: float
    quiet_seconds: float
    loaded: float
    prompt_done: int
    prompt_total: int
    prompt_cached: int
    prompt_tokens_per_second: float | None
    tokens: int
    tokens_per_second: float | None
    is_estimated: bool
    is_reasoning: bool
    ttft_seconds: float | None
    context_used: int | None
    model: ModelUsed
    notices: tuple[str, ...]

    @classmethod
    def of(cls, generation: Generation) -> "Progress":
        """How far GENERATION is now."""
        reading, tokens = generation.reading, generation.tokens
        return cls(
            id=generation.id,
            state=generation.state,
            seconds=generation.seconds_in_state,
            quiet_seconds=generation.quiet_seconds,
            loaded=generation.loaded,
            prompt_done=reading.done,
            prompt_total=reading.total,
            prompt_cached=reading.cached,
            prompt_tokens_per_second=per_second(reading.done - reading.cached, generation.prefill_seconds) or None,
            tokens=tokens,
            tokens_per_second=per_second(generation.timed_tokens, generation.decode_seconds) or None,
            is_estimated=generation.is_estimated,
            is_reasoning=bool(tokens) and not generation.text,
            ttft_seconds=generation.ttft_seconds,
            context_used=reading.done + tokens if reading.total else None,
            model=generation.model,
            notices=tuple(generation.notices),
        )

    def to_json(self) -> dict[str, object]:
        """The same as a JSON object."""
        return {**asdict(self), "state": self.state.value, "notices": list(self.notices)}
