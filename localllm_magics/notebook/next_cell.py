"""Cells with code, made below the one that runs."""

from collections.abc import Mapping

from IPython.core.interactiveshell import InteractiveShell


class NextCell:
    """Makes cells below those of SHELL; none twice, for what was made before cannot be replaced from a kernel."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._made: dict[str, set[str]] = {}

    def insert(self, code: str) -> str:
        """Make a cell with CODE; what the user should know, if anything."""
        made = self._made_by_this_cell()
        if code in made:
            return "A cell with this code was made by an earlier run, so no other was."
        is_another = bool(made)
        made.add(code)
        self._shell.set_next_input(code)
        return "The code differs from that of an earlier run, whose cell is still below." if is_another else ""

    def _made_by_this_cell(self) -> set[str]:
        """What the cell that runs has made; a terminal has no cells, and only a next line."""
        if getattr(self._shell, "kernel", None) is None:
            return set()
        request: Mapping[str, Mapping[str, object]] = self._shell.get_parent()  # type: ignore[attr-defined] # a kernel's shell has it
        metadata = request.get("metadata", {})
        cell = str(metadata.get("cellId") or request.get("content", {}).get("code", ""))
        if metadata.get("deletedCells"):  # JupyterLab's list of those deleted since the last run
            self._made.clear()
        return self._made.setdefault(cell, set())
