"""How a value becomes text inside a prompt: tables and arrays bounded, everything else `str()`.

Data libraries are recognised by the names of their types and never imported.
"""

import numbers
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

_MAX_ROWS = 20
_MAX_COLUMNS = 20
_MAX_CELL = 80
_MAX_PREVIEW = 2_000
# Above it a float has no decimals left to show, and its digits are no longer exact.
_LARGEST_EXACT = 1e15
_Foreign: TypeAlias = Any
"""A value whose library is not imported here, so nothing is known of its type."""


def describe(value: object) -> str:
    """The value as text: a bounded table or array with its shape, else `str()`."""
    # Of every class that the value is an instance of, so that subclasses count.
    kinds = {(str(kind.__module__).partition(".")[0], kind.__name__) for kind in type(value).__mro__}
    for kind, description in _DESCRIPTIONS.items():
        if kind in kinds:
            return description(value)
    return str(value)


def _pandas_frame(frame: _Foreign) -> str:
    head = frame.iloc[:_MAX_ROWS, :_MAX_COLUMNS]
    return _pandas_table(_frame_title(frame.shape), frame.shape, map(_heading, head.columns), head)


def _pandas_series(series: _Foreign) -> str:
    title = _series_title(series.name, series.shape, series.dtype)
    name = "value" if series.name is None else _heading(series.name)
    return _pandas_table(title, series.shape, [name], series.iloc[:_MAX_ROWS].to_frame())


def _pandas_table(title: str, shape: tuple[int, ...], header: Iterable[object], head: _Foreign) -> str:
    rows, columns = head.shape
    # By position, not by label: column names need not be unique.
    cells = [[head.iat[row, column] for column in range(columns)] for row in range(rows)]
    return _table(title, shape, header, cells, _labels(head.index))


def _polars_frame(frame: _Foreign) -> str:
    head = frame[:_MAX_ROWS, :_MAX_COLUMNS]
    return _table(_frame_title(frame.shape), frame.shape, head.columns, head.rows())


def _polars_series(series: _Foreign) -> str:
    title = _series_title(series.name or None, series.shape, series.dtype)
    cells = [[cell] for cell in series[:_MAX_ROWS].to_list()]
    return _table(title, series.shape, [series.name or "value"], cells)


def _array(array: _Foreign) -> str:
    # A value of numpy's exists, so numpy is loaded.
    preview: str = sys.modules["numpy"].array2string(
        array, threshold=100, edgeitems=3 if array.ndim <= 2 else 1, precision=6, max_line_width=100
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


def _table(
    title: str,
    shape: tuple[int, ...],
    header: Iterable[object],
    rows: Iterable[Sequence[object]],
    labels: tuple[Sequence[object], Iterable[Sequence[object]]] = ((), ()),
) -> str:
    """The first ROWS in Markdown under TITLE, which has the whole SHAPE; LABELS are names and rows of the index."""
    names, row_labels = labels
    header = [*names, *header]
    if not header:
        return title.removesuffix(":")
    if names:
        rows = [[*label, *row] for label, row in zip(row_labels, rows, strict=True)]
    lines = [title, "", _line(header), _line("---" for _ in header), *map(_line, rows)]
    sizes = zip(shape, (_MAX_ROWS, _MAX_COLUMNS), ("rows", "columns"), strict=False)
    limits = [f"{limit} of {size:,} {noun}" for size, limit, noun in sizes if size > limit]
    if limits:
        lines += ["", f"(first {'; '.join(limits)})"]
    return "\n".join(lines)


def _labels(index: _Foreign) -> tuple[list[object], list[list[object]]]:
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
        number = float(value)
        text = f"{number:.6g}".replace("nan", "NaN")
        return f"{number:.0f}" if "e+" in text and abs(number) < _LARGEST_EXACT else text
    return str(value)
