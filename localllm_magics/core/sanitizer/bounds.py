"""Bounds on what a renderer does by recursion or in more than linear time; beyond them a line is plain text."""

import re

# The column up to which a line may open lists and quotes: a dozen of them leave half of a page to the text.
_MAX_COLUMN = 22
# And the one up to which a line is searched for the start of a block.
_MAX_INDENTATION = 200
_LEAD = re.compile(r"(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]|$)))*[ \t]*")
_BLANKS_OR_MARKER = re.compile(r"[ \t]+|>|\d*[^ \t>]")

# Renderers search the rest of a block for the end of each emphasis and link: delimiters times characters is the work.
_MAX_WORK = 10_000_000
_LITTLE_WORK = 20_000
_DELIMITER = re.compile(r"[*~]+|(?<![^\W_])_+|_+(?![^\W_])|[\[\]!]")
_ITEM = re.compile(r"(?P<lead>[ \t]*(?:[-*+]|(?P<number>\d{1,9})[.)])[ \t]+)\S")
# A delimiter within a word costs less, and names are full of them.
_IN_WORD = 16

# To set a formula takes a millisecond and more, however short it is: characters, and what counts for the start of each.
_MAX_TEX = 50_000
_LEAST_TEX = 50
_FORMULA = re.compile(r"\$(?!\d)|\\[(\[]")

# A table fills each row up to the width of its head: so many cells may be added to all rows together.
_MAX_TABLE_COLUMNS = 100
_MAX_ADDED_CELLS = 2_000


def bound_indentation(line: str) -> str:
    """The line with so much indentation as a block may have."""
    content = line.lstrip(" \t")
    return line if len(line) - len(content) <= _MAX_INDENTATION else " " * _MAX_INDENTATION + content


def bound_nesting(line: str) -> str:
    """The line with bounded indentation; list and quote markers beyond the bound are characters."""
    lead = _LEAD.match(line)
    if lead is None or lead.end() <= _MAX_COLUMN // 4:
        return line
    column = 0
    written: list[str] = []
    for part in _BLANKS_OR_MARKER.finditer(line, 0, lead.end()):
        if part[0].isspace():
            blanks = part[0].expandtabs(4)[: max(1, _MAX_COLUMN - column)]
            column += len(blanks)
            written.append(blanks)
        elif column > _MAX_COLUMN:
            return "".join([*written, part[0][:-1], f"&#{ord(part[0][-1])};", line[part.end() :]])
        else:
            column += 2 if part[0] == ">" else len(part[0])
            written.append(part[0])
    return "".join([*written, line[lead.end() :]])


class Bounds:
    """What the lines written so far leave to the next ones."""

    def __init__(self) -> None:
        self._work_before = 0
        self._delimiters = self._characters = 0
        self._item_column: int | None = None
        self._table_columns = 0
        self._added_cells = 0
        self._tex = 0

    def exceeded_by(self, line: str) -> bool:
        """Whether the line, the next one of the text, is to be written as plain text."""
        if not line.strip():
            self._end_block()
            self._item_column = None
            return False
        self._note_item(line)
        formulas = len(_FORMULA.findall(line))
        if self._is_table_too_large(line) or (formulas and self.exceeded_by_formula(line, formulas / 2)):
            return True
        in_words = line.count("_") // _IN_WORD
        self._delimiters += len(_DELIMITER.findall(line)) + in_words
        self._characters += len(line)
        work = self._delimiters * self._characters
        return work > _LITTLE_WORK and work + self._work_before > _MAX_WORK

    def exceeded_by_formula(self, tex: str, number: float = 1) -> bool:
        """Whether formulas, the next ones of the text, are too many to be drawn."""
        self._tex += max(len(tex), int(_LEAST_TEX * number))
        return self._tex > _MAX_TEX

    def _end_block(self) -> None:
        work = self._delimiters * self._characters
        self._work_before += min(work, _MAX_WORK)
        self._delimiters = self._characters = self._table_columns = 0

    def _note_item(self, line: str) -> None:
        """An item of a list is a block of its own, if every renderer takes it for one."""
        item = _ITEM.match(line)
        if not item:
            return
        column = len(item["lead"].expandtabs(4))
        margin = column - len(item["lead"].lstrip().expandtabs(4))
        starts = not self._characters or self._item_column is not None or item["number"] in {None, "1"}
        if starts and margin <= (self._item_column or 0) + 3:
            self._end_block()
            self._item_column = column

    def _is_table_too_large(self, line: str) -> bool:
        columns = line.count("|") + 1
        if self._table_columns:
            added = max(0, self._table_columns - max(1, columns - 2))
            self._added_cells += added
            return added > 0 and self._added_cells > _MAX_ADDED_CELLS
        if not self._characters or "-" not in line or line.strip(" \t>|:-"):
            return False
        self._table_columns = columns if columns <= _MAX_TABLE_COLUMNS else 0
        return not self._table_columns
