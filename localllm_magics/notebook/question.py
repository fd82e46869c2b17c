"""A question: what a magic asks, with its options checked."""

from dataclasses import dataclass

from localllm_magics.core.errors import BadOption
from localllm_magics.core.messages import to_messages
from localllm_magics.core.request import LoadOptions, Request
from localllm_magics.core.sampling import Sampling
from localllm_magics.notebook.options import LOADING, SAMPLING
from localllm_magics.notebook.parser import Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a magic asks.

    Args:
        model: The reference, or None for the current model.
        load: How the model is to be loaded.
        request: The prompt as it was typed, and the sampling.
        out: Variable for the completion.
    """

    model: str | None
    load: LoadOptions
    request: Request
    out: str | None = None
    has_vars: bool = True
    is_dry_run: bool = False
    wants_code: bool = False
    in_background: bool = False
    raises: bool = True


def to_question(parsed: Parsed) -> Question:
    """The question in PARSED: its text is the prompt, its word the model.

    Raises:
        BadOption: There is no prompt, two models, or a value out of range.
    """
    values = parsed.values
    if not parsed.text.strip():
        raise BadOption("The prompt is empty.", "Write it below the line with %%llm, or after %llm ask.")
    if parsed.words and "model" in values:
        raise BadOption("The model is given twice.", parsed.quoting_hint or f"Leave --model {values['model']} out.")
    text = parsed.text.removesuffix("\n") if "raw" in values else parsed.text.strip()
    return Question(
        model=_text(next(iter(parsed.words), values.get("model"))),
        load=to_load_options(parsed),
        request=Request(
            messages=to_messages(text, _text(values.get("system"))),
            sampling=Sampling.from_options(parsed.select(SAMPLING)),
            raw="raw" in values,
            think=next((name == "think" for name in ("think", "no_think") if name in values), None),
        ),
        out=_text(values.get("out")),
        has_vars="no_vars" not in values,
        is_dry_run="dry_run" in values,
        wants_code="code" in values,
        in_background="background" in values,
        raises="no_raise" not in values,
    )


def to_load_options(parsed: Parsed) -> LoadOptions:
    """The load options in PARSED."""
    return LoadOptions(**parsed.select(LOADING))  # type: ignore[arg-type] # each option's `convert` makes its type


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
