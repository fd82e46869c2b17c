"""How a value becomes text inside a prompt: tables and arrays bounded, everything else `str()`.

Data libraries are recognised by the names of their types and never imported.
"""

import numbers
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

_MAX_ROWS = 20
_MAX_COLUMNS = 20
_MAX_CELL = 80
_MAX_PREVIEW = 2_000
# Above it a float has no decimals left to show, and its digits are no longer exact.
_LARGEST_EXACT = 1e15


def describe(value: object) -> str:
    """The value as text: a bounded table or array with its shape, else `str()`."""
    kinds = _kinds(value)
    for kind, description in _DESCRIPTIONS.items():
        if kind in kinds:
            return description(value)
    return str(value)


def _kinds(value: object) -> set[tuple[str, str]]:
    """Top package and name of every class that the value is an instance of, so that subclasses count."""
    return {(str(kind.__module__).partition(".")[0], kind.__name__) for kind in type(value).__mro__}


class _Pandas(Protocol):
    """What is used of a pandas DataFrame or Series; what they hold has no type."""

    shape: tuple[int, ...]
    iloc: Any
    name: object
    dtype: object


class _Polars(Protocol):
    """What is used of a polars DataFrame or Series."""

    shape: tuple[int, ...]
    name: str
    dtype: object

    def __getitem__(self, key: object) -> Any: ...  # noqa: ANN401 - a frame or a series


class _Array(Protocol):
    shape: tuple[int, ...]
    ndim: int
    dtype: object


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    title: str
    shape: tuple[int, ...]
    labels: tuple[Sequence[object], Sequence[Sequence[object]]] = ((), ())
    header: Sequence[object]
    rows: Sequence[Sequence[object]]

    def to_markdown(self) -> str:
        names, labels = self.labels
        header = [*names, *self.header]
        if not header:
            return self.title.removesuffix(":")
        rows = [[*label, *row] for label, row in zip(labels, self.rows, strict=True)] if names else self.rows
        lines = [self.title, "", _line(header), _line("---" for _ in header), *map(_line, rows)]
        return "\n".join([*lines, *self._truncation()])

    def _truncation(self) -> list[str]:
        sizes = zip(self.shape, (_MAX_ROWS, _MAX_COLUMNS), ("rows", "columns"), strict=False)
        limits = [f"{limit} of {size:,} {noun}" for size, limit, noun in sizes if size > limit]
        return ["", f"(first {'; '.join(limits)})"] if limits else []


def _pandas_frame(value: object) -> str:
    frame = cast("_Pandas", value)
    head = frame.iloc[:_MAX_ROWS, :_MAX_COLUMNS]
    rows, columns = head.shape
    return _Table(
        title=_frame_title(frame.shape),
        shape=frame.shape,
        labels=_labels(head.index),
        header=[_heading(column) for column in head.columns],
        # By position, not by label: column names need not be unique.
        rows=[[head.iat[row, column] for column in range(columns)] for row in range(rows)],
    ).to_markdown()


def _pandas_series(value: object) -> str:
    series = cast("_Pandas", value)
    head = series.iloc[:_MAX_ROWS]
    return _Table(
        title=_series_title(series.name, series.shape, series.dtype),
        shape=series.shape,
        labels=_labels(head.index),
        header=["value" if series.name is None else _heading(series.name)],
        rows=[[head.iat[row]] for row in range(len(head))],
    ).to_markdown()


def _polars_frame(value: object) -> str:
    frame = cast("_Polars", value)
    head = frame[:_MAX_ROWS, :_MAX_COLUMNS]
    title = _frame_title(frame.shape)
    return _Table(title=title, shape=frame.shape, header=head.columns, rows=head.rows()).to_markdown()


def _polars_series(value: object) -> str:
    series = cast("_Polars", value)
    return _Table(
        title=_series_title(series.name or None, series.shape, series.dtype),
        shape=series.shape,
        header=[series.name or "value"],
        rows=[[cell] for cell in series[:_MAX_ROWS].to_list()],
    ).to_markdown()


def _array(value: object) -> str:
    array = cast("_Array", value)
    # A value of numpy's exists, so numpy is loaded.
    preview: str = sys.modules["numpy"].array2string(
        array,
        threshold=100,
        edgeitems=3 if array.ndim <= 2 else 1,
        precision=6,
        max_line_width=100,
    )
    if len(preview) > _MAX_PREVIEW:
        preview = f"{preview[:_MAX_PREVIEW]}…"
    return f"array, shape {array.shape}, dtype {_truncate(str(array.dtype))}:\n{preview}"


_DESCRIPTIONS = {
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Series"): _pandas_series,
    ("polars", "DataFrame"): _polars_frame,
    ("polars", "Series"): _polars_series,
    ("numpy", "ndarray"): _array,
}


def _labels(index: Any) -> tuple[list[object], list[list[object]]]:  # noqa: ANN401 - a pandas Index
    """Names and rows of the index columns; none for the index that only counts the rows."""
    names: list[object] = ["" if name is None else _heading(name) for name in index.names]
    counts_rows = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
    if counts_rows and names == [""]:
        return [], []
    return names, [list(label) if index.nlevels > 1 else [label] for label in index]


def _frame_title(shape: tuple[int, ...]) -> str:
    rows, columns = shape
    return f"DataFrame, {_count(rows, 'row')} × {_count(columns, 'column')}, shape {shape}:"


def _series_title(name: object, shape: tuple[int, ...], dtype: object) -> str:
    named = "" if name is None else f' "{_cell(_heading(name))}"'
    return f"Series{named}, {_count(shape[0], 'row')}, shape {shape}, dtype {_truncate(str(dtype))}:"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _heading(name: object) -> object:
    """A label of a MultiIndex is a tuple."""
    return " / ".join(map(str, name)) if isinstance(name, tuple) else name


def _cell(value: object) -> str:
    return _truncate(_to_text(value)).replace("|", r"\|").replace("\r", r"\r").replace("\n", r"\n")


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…"


def _to_text(value: object) -> str:
    # Real but not rational are the floats, numpy's included, and not bool, int or Fraction.
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        return _to_decimal(float(value))
    return str(value)


def _to_decimal(number: float) -> str:
    if number != number:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    text = f"{number:.6g}"
    if "e+" in text and abs(number) < _LARGEST_EXACT:
        return f"{number:.0f}"
    return text
