"""The small live line of a card: what happens now, and how fast."""

import html

from localllm_magics.core.generation import State
from localllm_magics.core.progress import Progress
from localllm_magics.core.sanitizer.control import strip_control

_DOTS = {State.DONE: "●", State.STOPPED: "■", State.FAILED: "▲"}


def to_plain(progress: Progress) -> str:
    """The line for a terminal."""
    model = progress.model
    parts = [model.reference, progress.state.value, *_details(progress)]
    if model.context and progress.context_used is not None:
        parts.append(f"context {progress.context_used:,} of {model.context:,}")
    if model.device:
        parts.append(f"{model.engine} on {model.device}")
    return strip_control(" · ".join(parts))


def to_bundle(progress: Progress, tail: str = "") -> dict[str, object]:
    """The line by media type, with TAIL, the end of the text, below it where HTML is shown."""
    line = to_plain(progress)
    dot = _DOTS.get(progress.state, "◌")
    small = f'<div style="font-size:85%;opacity:.75">{dot} {html.escape(line)}</div>'
    text = html.escape(strip_control(tail))
    block = f'<pre style="white-space:pre-wrap">{text}</pre>' if text else ""
    return {"text/plain": line, "text/html": small + block}


def _details(progress: Progress) -> list[str]:
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
        parts += [f"{rate:.1f} tok/s", f"{left:.0f} s left"]
    return parts


def _decode(progress: Progress) -> list[str]:
    about = "~" if progress.is_estimated else ""
    what = "tokens of reasoning" if progress.is_reasoning else "tokens"
    parts = [f"{about}{progress.tokens:,} {what}"]
    if progress.tokens_per_second is not None:
        parts.append(f"{about}{progress.tokens_per_second:.1f} tok/s")
    if progress.ttft_seconds is not None:
        parts.append(f"first token {progress.ttft_seconds:.2f} s")
    return parts
