"""The models that are asked, and what they are asked."""

from dataclasses import dataclass, replace
from pathlib import Path

from localllm_magics import demo
from localllm_magics.catalog.gguf import read_header
from localllm_magics.core.messages import Message
from localllm_magics.engines.kernel.machine import physical_cores
from localllm_magics.engines.kernel.template import ChatTemplate
from tools.bench.ask import Ask, Setup
from tools.bench.random_model import HALF_BILLION, TINY, Shape, default_folder, random_model

_QUESTIONS = ("Tell me a story about a fox.", "Tell me a story about a boat.", "What is a GGUF file?", "Hello!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The figures to reach on one model, None where there is none."""

    complete: float | None = None
    cell: float | None = None
    showing: float | None = None
    saved_megabytes: float | None = None
    served: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, and one round of questions."""

    name: str
    setup: Setup
    asks: tuple[Ask, ...]
    rounds: int
    limits: Limits = Limits()


def demo_subject(*, rounds: int) -> Subject:
    """The bundled model; its answers end where it ends them, so a round has several."""
    asks = tuple(
        Ask(text=text, prompt=_render(demo.PATH, text), seed=seed, max_tokens=400)
        for seed, text in enumerate(_QUESTIONS, start=1)
    )
    setup = Setup(path=demo.PATH, reference="demo", context=1024, threads=physical_cores())
    return Subject(name="demo", setup=setup, asks=asks, rounds=rounds, limits=Limits(complete=0.85, served=0.9))


def half_billion_subject(*, rounds: int, tokens: int) -> Subject:
    """A model of the shape of Qwen2-0.5B with random Q4_0 weights."""
    subject = _random_subject(HALF_BILLION, "0.5 B", rounds=rounds, tokens=tokens)
    return replace(subject, limits=Limits(complete=0.97, cell=0.95, showing=0.98, saved_megabytes=250, served=0.99))


def tiny_subject(*, rounds: int, tokens: int) -> Subject:
    """Four small layers under the vocabulary of a large model: fast, and never at its end."""
    return _random_subject(TINY, "tiny", rounds=rounds, tokens=tokens)


def _random_subject(shape: Shape, name: str, *, rounds: int, tokens: int) -> Subject:
    path = random_model(shape, default_folder())
    ask = Ask(text=_QUESTIONS[0], prompt=_render(path, _QUESTIONS[0]), seed=1, max_tokens=tokens)
    setup = Setup(path=path, reference=str(path), context=1024, threads=physical_cores())
    return Subject(name=name, setup=setup, asks=(ask,), rounds=rounds)


def _render(path: Path, text: str) -> str:
    """TEXT as the model at PATH reads it."""
    source = read_header(path).metadata.get("tokenizer.chat_template")
    assert isinstance(source, str)
    return ChatTemplate(source).render([Message.from_text("user", text)]).text
