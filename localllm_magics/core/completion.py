"""The finished result of a generation, and its JSON document."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, TypeAlias, TypedDict

from localllm_magics.core import presentation
from localllm_magics.core.sampling import Sampling
from localllm_magics.core.sanitizer.control import strip_control

FinishReason: TypeAlias = Literal["stop", "length", "stopped", "error"]
FinalState: TypeAlias = Literal["done", "stopped", "failed"]
EngineName: TypeAlias = Literal["kernel", "ollama", "openai", "llamafile", "scripted"]
MIME_TYPE = "application/vnd.localllm.completion+json"
"""The media type of `CompletionDocument`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed:
    """The model that answered and how it was placed; None is not known.

    Args:
        device: Where it ran, such as `CPU` or `CUDA0`.
        size_bytes: Size of the weights' file.
        gpu_layers: Layers that really are on a GPU.
        context: Tokens of context.
    """

    reference: str
    name: str | None = None
    engine: EngineName | None = None
    device: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    context: int | None = None

    @property
    def label(self) -> str:
        """The model, where it runs, and for a server at an address the name before that."""
        found = _SERVER.fullmatch(self.reference)
        if found is None:
            return presentation.join([self.reference, self._place])
        name = found["name"] or ("" if _SERVER.fullmatch(self.name or "") else self.name)
        server = f"{self.engine or found['engine'] or 'server'} at {found['host']}"
        return presentation.join([name, server, self.device])

    @property
    def _place(self) -> str:
        if not self.device or not self.engine or self.reference.startswith(f"{self.engine}:"):
            return self.device or ""
        return f"{self.engine} on {self.device}"


def per_second(tokens: int, seconds: float) -> float:
    """Tokens per second; 0 where nothing was timed, or a server's counts contradict each other."""
    return tokens / seconds if tokens > 0 and seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts and times of a generation, in tokens and seconds.

    Args:
        prompt_tokens: All tokens of the prompt, those from a cache too.
        cached_tokens: Prompt tokens that were not read again.
        completion_tokens: As the engine counts them; servers count the end-of-turn token too, the kernel engine does
            not.
        ttft_seconds: From the start to the first token, with loading.
        prompt_seconds: Reading the prompt (prefill).
        decode_seconds: Producing the tokens.
        prompt_tokens_per_second: Without the cached tokens.
        tokens_per_second: The decode rate.
        estimated: Whether the engine did not count, so that we had to guess.
        timed_tokens: How many tokens were produced within `decode_seconds`, where that is not all of them: a clock
            that starts at the first token times one less.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    load_seconds: float = 0.0
    ttft_seconds: float = 0.0
    prompt_seconds: float = 0.0
    decode_seconds: float = 0.0
    total_seconds: float = 0.0
    estimated: bool = False
    timed_tokens: int | None = None

    @property
    def prompt_tokens_per_second(self) -> float:
        """The prefill rate, 0 where nothing was read."""
        return per_second(self.prompt_tokens - self.cached_tokens, self.prompt_seconds)

    @property
    def tokens_per_second(self) -> float:
        """The decode rate, 0 where nothing was timed."""
        timed = self.completion_tokens if self.timed_tokens is None else self.timed_tokens
        return per_second(timed, self.decode_seconds)

    @property
    def rate(self) -> str:
        """The decode rate as it is shown: marked where it is a guess, empty where there is none."""
        return presentation.to_rate(self.tokens_per_second, is_estimated=self.estimated)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """An error as the document keeps it."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What made the completion."""

    localllm_magics: str
    engine: str


class CompletionDocument(TypedDict):
    """The JSON form, described by completion.schema.json."""

    version: Literal[1]
    id: str
    state: FinalState
    text: str
    reasoning: str | None
    finish_reason: FinishReason
    model: dict[str, str | int | None]
    stats: dict[str, float | bool]
    sampling: dict[str, float | Sequence[str] | None]
    versions: dict[str, str]
    notices: list[str]
    value: object
    error: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a generation made: text, why it ended, and how fast.

    Args:
        value: The parsed object, where a schema was asked for.
        notices: What the user should know about how it was made, in sentences.
    """

    id: str
    text: str
    finish_reason: FinishReason
    model: ModelUsed
    versions: Versions
    stats: Stats = Stats()
    sampling: Sampling = Sampling()
    reasoning: str | None = None
    error: ErrorRecord | None = None
    value: object = None
    notices: tuple[str, ...] = field(default=(), compare=False)

    @property
    def state(self) -> FinalState:
        """The terminal state of the card."""
        if self.finish_reason == "error":
            return "failed"
        return "stopped" if self.finish_reason == "stopped" else "done"

    def __str__(self) -> str:
        return self.text

    def wait(self, seconds: float | None = None) -> "Completion":  # noqa: ARG002 - it has ended already
        """Itself: a variable bound in the background can be waited for before its end, and after it."""
        return self

    def to_json(self) -> CompletionDocument:
        """The document that stays in a notebook."""
        return {
            "version": 1,
            "id": self.id,
            "state": self.state,
            "text": self.text,
            "reasoning": self.reasoning,
            "finish_reason": self.finish_reason,
            "model": asdict(self.model),
            "stats": {name: _rounded(getattr(self.stats, name)) for name in _STATS},
            "sampling": {**asdict(self.sampling), "stop": list(self.sampling.stop)},
            "versions": asdict(self.versions),
            "notices": list(self.notices),
            "value": self.value,
            "error": None if self.error is None else asdict(self.error),
        }

    def to_markdown(self, *, spell_error: bool = True) -> str:
        """The answer, made safe to show, the error if wanted, notices, and one small line of stats."""
        safe = presentation.to_safe_markdown
        parts = [presentation.folded(self.reasoning), safe(self.text)]
        if self.error is not None and spell_error:
            parts += _spelled(self.error)
        parts += map(safe, presentation.noted(self.notices))
        return "\n\n".join(filter(None, [*parts, presentation.small(f"{_MARKS[self.state]} {self.summary()}")]))

    def to_plain(self, *, spell_error: bool = True) -> str:
        """The same for a terminal."""
        return "\n\n".join(filter(None, [strip_control(self.text).rstrip(), self.ending(spell_error=spell_error)]))

    def ending(self, *, spell_error: bool = True) -> str:
        """What stands below the text in a terminal."""
        parts = presentation.noted(self.notices)
        if self.error is not None and spell_error:
            parts.insert(0, f"{self.error.message}\n{self.error.hint}".rstrip())
        return strip_control("\n\n".join([*parts, f"[{self.summary()}]"]))

    def summary(self) -> str:
        """One line: the model, the end, counts and rates."""
        stats, parts = self.stats, [self.model.label, self._end]
        if stats.completion_tokens:
            parts += [
                presentation.to_tokens(stats.completion_tokens, is_estimated=stats.estimated),
                stats.rate,
                presentation.to_first_token(stats.ttft_seconds),
            ]
            if stats.prompt_tokens:
                used = stats.prompt_tokens + stats.completion_tokens
                parts.append(presentation.to_context(used, self.model.context))
        if stats.cached_tokens:
            parts.append(f"{stats.cached_tokens:,} prompt tokens from the cache")
        return presentation.join(parts)

    @property
    def _end(self) -> str:
        """Why it ended, if that is not what one expects."""
        if self.finish_reason == "stopped" and not self.stats.completion_tokens:
            return "stopped before the first token"
        if self.finish_reason == "stop" and not self.text.strip():
            return "empty answer"
        return _ENDINGS[self.finish_reason]

    def to_bundle(self, *, spell_error: bool = True) -> dict[str, object]:
        """The one output that stays in the notebook, by media type."""
        return {
            "text/markdown": self.to_markdown(spell_error=spell_error),
            "text/plain": self.to_plain(spell_error=spell_error),
            MIME_TYPE: self.to_json(),
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return self.to_bundle()


_STATS = (*(f.name for f in fields(Stats) if f.name != "timed_tokens"), "prompt_tokens_per_second", "tokens_per_second")
_ENDINGS = {"stop": "", "length": "cut off by the token limit", "stopped": "stopped", "error": "failed"}
_MARKS = {"done": "●", "stopped": "■", "failed": "▲"}
_SERVER = re.compile(r"(?:(?P<engine>[a-z]+):)?(?P<name>[^@]*?)@?https?://(?P<host>[^/?#]+).*", re.DOTALL)


def _rounded(value: float) -> float:
    """To the microsecond: more digits are noise in a saved notebook. Counts stay whole."""
    return round(value, 6) if value % 1 else value


def _spelled(error: ErrorRecord) -> list[str]:
    """ERROR as Markdown: what happened, the lines that show where, if any, and what to do."""
    safe = presentation.to_safe_markdown
    what, _, where = error.message.partition("\n")
    if not where:
        return [f"**{safe(what)}** {safe(error.hint)}"]
    return [f"**{safe(what)}**", safe(textwrap.indent(textwrap.dedent(where), "    ")), safe(error.hint)]
