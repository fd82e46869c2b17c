"""The small live line of a card: what happens now, and how fast."""

from localllm_magics.core import presentation
from localllm_magics.core.generation import State
from localllm_magics.core.progress import Progress
from localllm_magics.core.sanitizer.control import strip_control

_QUIET_SECONDS = 10  # from here on, a reader wants to know that a server sends nothing


def to_plain(progress: Progress) -> str:
    """The line for a terminal."""
    model = progress.model
    context = presentation.to_context(progress.context_used or 0, model.context)
    return strip_control(presentation.join([model.label, progress.state.value, *_details(progress), context]))


def to_bundle(line: str, above: str = "") -> dict[str, object]:
    """LINE by media type, with the Markdown ABOVE it."""
    markdown = "\n\n".join(filter(None, [above, presentation.small(f"◌ {line}")]))
    return {"text/markdown": markdown, "text/plain": line}


def _details(progress: Progress) -> list[str]:
    details = _numbers(progress)
    is_at_work = progress.state in (State.READING, State.GENERATING)
    if is_at_work and progress.model.engine != "kernel" and progress.quiet_seconds >= _QUIET_SECONDS:
        details.append(f"no data for {progress.quiet_seconds:.0f} s")
    return details


def _numbers(progress: Progress) -> list[str]:
    if progress.state is State.LOADING and progress.loaded:
        return [f"{progress.loaded:.0%}"]
    if progress.state is State.READING and progress.prompt_total:
        return _prefill(progress)
    if progress.state is State.GENERATING:
        return _decode(progress)
    is_waiting = progress.state in (State.LOADING, State.READING)  # with a server that does not report progress
    is_slow = progress.state is State.PENDING and progress.seconds >= 1
    return [f"{progress.seconds:.0f} s"] if is_waiting or is_slow else []


def _prefill(progress: Progress) -> list[str]:
    parts = [f"{progress.prompt_done:,} of {progress.prompt_total:,} tokens"]
    if progress.prompt_cached:
        parts.append(f"{progress.prompt_cached:,} from the cache")
    rate = progress.prompt_tokens_per_second
    if rate is not None:
        left = (progress.prompt_total - progress.prompt_done) / rate
        parts += [presentation.to_rate(rate), f"{left:.0f} s left"]
    return parts


def _decode(progress: Progress) -> list[str]:
    is_estimated = progress.is_estimated
    return [
        presentation.to_tokens(
            progress.tokens, "of reasoning" if progress.is_reasoning else "", is_estimated=is_estimated
        ),
        presentation.to_rate(progress.tokens_per_second or 0.0, is_estimated=is_estimated),
        presentation.to_first_token(progress.ttft_seconds),
    ]
