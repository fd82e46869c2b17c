"""The list of models that can be used, as it is shown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, get_args

from localllm_magics.core.errors import BadOption, SetupError
from localllm_magics.core.memory_plan import FORECAST_PROMPT, Fit, Forecast
from localllm_magics.core.model_info import Kind, ModelInfo, Source
from localllm_magics.core.presentation import to_two_digits
from localllm_magics.core.table import Printer, Table, shortened, to_count, to_size

if TYPE_CHECKING:
    import pandas as pd

SOURCES: tuple[str, ...] = get_args(Source)
KINDS: tuple[str, ...] = get_args(Kind)
HOW_TO_FORECAST = "For forecasts of speed, which take a few seconds the first time, type: %llm models --forecast"
MOST_SHOWN = 100
"""Rows of the table; some servers list 100,000 models."""
_MOST_PROBLEMS = 10
_TEXT: tuple[Kind | None, ...] = ("chat", "base", None)
_NESTED: Mapping[str, type[Fit | Forecast]] = {"fit": Fit, "forecast": Forecast}
HEADERS = (
    "Reference",
    "Name",
    "Architecture",
    "Parameters",
    "Quantization",
    "Size",
    "Context",
    "Kind",
    "Fit",
    "Forecast",
    "Source",
)


class ModelList(list[ModelInfo]):
    """Models, displayed as a table, of which the first `MOST_SHOWN` are shown.

    Args:
        models: In the order of the table.
        notes: Sentences below the table.
        command: What lists them, and takes a word that is in their names.
        filters: What they have in common, such as `is of the kind chat`.
    """

    def __init__(
        self,
        models: Iterable[ModelInfo] = (),
        *,
        notes: Sequence[str] = (),
        command: str = "%llm models",
        filters: Sequence[str] = (),
    ) -> None:
        super().__init__(models)
        self.filters = tuple(filters)
        self.notes = tuple(notes)
        self.command = command

    def with_name(self, part: str) -> "ModelList":
        """Those with PART in their name or reference, in whatever case; an empty one is in all."""
        if not part:
            return self
        wanted = part.casefold()
        return _select(
            self,
            lambda info: wanted in info.reference.casefold() or wanted in info.name.casefold(),
            f"has {part!r} in its name",
        )

    def only(self, *, source: str | None = None, kind: str | None = None, fits: bool | None = None) -> "ModelList":
        """Those of one source, of one kind, and those that fit into memory or do not; None is all.

        Args:
            source: One of `SOURCES`.
            kind: One of `KINDS`.
            fits: What is not known, as of models of servers, counts as what fits.

        Raises:
            BadOption: There is no such source or kind.
        """
        found = self
        if source is not None:
            _require("source", source, SOURCES)
            found = _select(found, lambda info: info.source == source, f"is of the source {source}")
        if kind is not None:
            _require("kind", kind, KINDS)
            found = _select(found, lambda info: info.kind == kind, f"is of the kind {kind}")
        if fits is not None:
            found = _select(found, lambda info: _fits(info) == fits, "fits" if fits else "is too big")
        return found

    def to_table(self) -> Table:
        """The table that a terminal or a notebook shows."""
        if self.filters and not self:
            nothing = f"No model {' and '.join(self.filters)}. To see all, type: {self.command}"
            return Table(headers=(), rows=(), notes=(nothing, *self.notes))
        shown = self[:MOST_SHOWN]
        more = f"These are {len(shown)} of {len(self):,}. For those with a word in their names: {self.command} WORD"
        problems = [info.problem for info in shown if info.problem is not None]
        others = f"{len(problems) - _MOST_PROBLEMS} more cannot be read."
        notes = (
            *problems[:_MOST_PROBLEMS],
            *[others][: max(0, len(problems) - _MOST_PROBLEMS)],
            *[more][: len(self) - len(shown)],
            *self.notes,
        )
        return Table(headers=HEADERS, rows=tuple(_row(info) for info in shown), notes=notes)

    def to_pandas(self) -> "pd.DataFrame":
        """A DataFrame with a column for each field that the `repr` of `ModelInfo` has, those of fit and forecast too.

        Raises:
            SetupError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as exc:
            raise SetupError("A DataFrame needs pandas, which is not installed.", "pip install pandas") from exc
        own = [(field.name,) for field in fields(ModelInfo) if field.repr and field.name not in _NESTED]
        columns = own + [(name, field.name) for name, kind in _NESTED.items() for field in fields(kind)]
        rows = [[_value(info, path) for path in columns] for info in self]
        return pd.DataFrame(rows, columns=["_".join(path) for path in columns])

    def __repr__(self) -> str:
        return str(self.to_table())

    def _repr_markdown_(self) -> str:
        return self.to_table().to_markdown()

    def _repr_pretty_(self, printer: Printer, is_cyclic: bool) -> None:
        self.to_table()._repr_pretty_(printer, is_cyclic)


def in_order(models: Iterable[ModelInfo]) -> list[ModelInfo]:
    """What can be asked first, then what is too big, what makes no text, and what cannot be used; each by source."""
    return sorted(models, key=lambda info: (_group(info), SOURCES.index(info.source)))


def to_fit(info: ModelInfo) -> str:
    """Whether and how a model fits, in words; nothing where that is not known."""
    fit = info.fit
    if fit is None:
        return ""
    needed = to_size(fit.needed_bytes)
    if fit.verdict == "too big":
        loading = "" if fit.needed_bytes > fit.free_bytes else " and some to load it"
        return f"too big: needs {needed}{loading}, {to_size(fit.free_bytes)} free"
    if fit.verdict == "partial":
        of_all = f" of {info.layers + 1}" if info.layers else ""
        return f"partly on the GPU: {fit.max_gpu_layers}{of_all} layers, {needed}"
    return f"fits on the GPU: {needed}" if fit.verdict == "gpu" else f"CPU: {needed}"


def to_forecast(forecast: Forecast | None) -> str:
    """How fast a model will be, as `≈ 14 tok/s, 1,000 tokens read in ≈ 9.0 s`; nothing where that is not known."""
    if forecast is None:
        return ""
    rate = to_two_digits(forecast.tokens_per_second)
    seconds = to_two_digits(FORECAST_PROMPT / forecast.prompt_tokens_per_second)
    return f"≈ {rate} tok/s, {FORECAST_PROMPT:,} tokens read in ≈ {seconds} s"


def _require(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        nearest = get_close_matches(value, allowed, 1)
        meant = f"Did you mean {nearest[0]}? " if nearest else ""
        raise BadOption(f"There is no {name} {value!r}.", f"{meant}{name.capitalize()}s: {', '.join(allowed)}.")


def _select(models: ModelList, is_wanted: Callable[[ModelInfo], bool], what: str) -> ModelList:
    """Those of MODELS that are wanted, which have in common WHAT is said."""
    filters = (*models.filters, what)
    return ModelList(filter(is_wanted, models), notes=models.notes, command=models.command, filters=filters)


def _group(info: ModelInfo) -> int:
    if info.problem is not None:
        return 3
    if info.kind not in _TEXT:
        return 2
    return 0 if _fits(info) else 1


def _fits(info: ModelInfo) -> bool:
    return info.problem is None and (info.fit is None or info.fit.verdict != "too big")


def _value(info: ModelInfo, path: tuple[str, ...]) -> object:
    value: object = info
    for name in path:
        value = getattr(value, name, None)
    return value


def _row(info: ModelInfo) -> tuple[str, ...]:
    return (
        info.reference,
        shortened(info.name),
        info.architecture or "",
        to_count(info.parameters),
        info.quantization or "",
        to_size(info.size_bytes),
        f"{info.context:,}" if info.context else "",
        "unreadable" if info.problem is not None else info.kind or "",
        to_fit(info),
        to_forecast(info.forecast),
        info.source,
    )
