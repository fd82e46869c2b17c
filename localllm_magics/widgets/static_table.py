"""What stays of the picker in a saved notebook: a table, in an output of its own.

JupyterLab shows "model not found" for the view of a widget whose kernel has ended, whatever else the same output holds.
So the table is another output. The style of the picker hides it where the picker is alive, and its own hides the view
where that is dead.
"""

from html import escape
from typing import Any

from localllm_magics.catalog.model_list import HEADERS, ModelList
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.table import Table, unbroken

MOST_ROWS = 20
_COLUMNS = ("Reference", "Parameters", "Quantization", "Size", "Context", "Fit", "Forecast", "Source")
_STYLE = """<style>
.jp-OutputArea-child:has(> .jupyter-widgets):has(~ .jp-OutputArea-child .llm-static):not(:has(.llm-picker)) {
  display: none;
}
</style>"""
_CELL = 'align="left" style="text-align: left; white-space: nowrap"'
"""On each cell, since a notebook that is not trusted is shown without the style above."""


def to_bundle(models: ModelList) -> dict[str, Any]:
    """MODELS, of which the first are shown, for whatever shows a notebook."""
    shown = ModelList(models[:MOST_ROWS]).to_table()
    more = len(models) - MOST_ROWS
    notes = (*shown.notes, *[f"{more:,} more models: %llm models"][: max(0, more)])
    columns = [number for number, header in enumerate(shown.headers) if header in _COLUMNS]
    rows = map(_judged, models, shown.rows)
    table = Table(
        headers=_picked(shown.headers, columns), rows=tuple(_picked(row, columns) for row in rows), notes=notes
    )
    return {"text/plain": table.to_text(), "text/markdown": table.to_markdown(), "text/html": _to_html(table)}


def _judged(info: ModelInfo, row: tuple[str, ...]) -> tuple[str, ...]:
    """ROW, which says under Fit that INFO cannot be read: the table has no column of kinds."""
    if info.problem is None:
        return row
    return tuple("unreadable" if header == "Fit" else cell for header, cell in zip(HEADERS, row, strict=True))


def _to_html(table: Table) -> str:
    head = _row("th", table.headers)
    body = "".join(_row("td", row) for row in table.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return f'{_STYLE}<div class="llm-static"><table>{head}{body}</table>{notes}</div>'


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag} {_CELL}>{escape(unbroken(cell))}</{tag}>' for cell in cells)}</tr>"


def _picked(cells: tuple[str, ...], columns: list[int]) -> tuple[str, ...]:
    return tuple(cells[number] for number in columns)
