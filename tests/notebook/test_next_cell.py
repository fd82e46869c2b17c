"""A cell that is run again makes no cell twice."""

from types import SimpleNamespace

import pytest

from localllm_magics.notebook.next_cell import NextCell

AGAIN = "A cell with this code was made by an earlier run, so no other was."
ANOTHER = "The code differs from that of an earlier run, whose cell is still below."


class KernelShell(SimpleNamespace):
    """What is used of a kernel's shell."""

    kernel = object()

    def __init__(self) -> None:
        super().__init__(made=[], request={})
        self.set_next_input = self.made.append

    def get_parent(self) -> dict[str, object]:
        request: dict[str, object] = self.request
        return request

    def run(self, cells: NextCell, made: str, code: str = "%%llm --code", **metadata: object) -> str:
        """What CELLS says to MADE when a front end runs CODE with METADATA."""
        self.request = {"content": {"code": code}, "metadata": metadata}
        return cells.insert(made)


@pytest.fixture
def shell() -> KernelShell:
    return KernelShell()


def test_the_same_code_makes_one_cell(shell: KernelShell) -> None:
    cells = NextCell(shell)  # type: ignore[arg-type] # all that is used of it

    said = [shell.run(cells, code, cellId="a") for code in ("x = 1", "x = 1", "x = 2", "x = 1")]

    assert said == ["", AGAIN, ANOTHER, AGAIN]
    assert shell.made == ["x = 1", "x = 2"]


def test_another_cell_makes_its_own(shell: KernelShell) -> None:
    cells = NextCell(shell)  # type: ignore[arg-type] # all that is used of it

    said = [shell.run(cells, "x = 1", cellId=cell) for cell in ("a", "b")]

    assert (said, shell.made) == (["", ""], ["x = 1", "x = 1"])


def test_without_its_id_a_cell_is_known_by_its_code(shell: KernelShell) -> None:
    cells = NextCell(shell)  # type: ignore[arg-type] # all that is used of it

    said = [shell.run(cells, "x = 1", code) for code in ("%%llm --code\nA", "%%llm --code\nA", "%%llm --code\nB")]

    assert said == ["", AGAIN, ""]


def test_after_a_cell_was_deleted_it_is_made_again(shell: KernelShell) -> None:
    cells = NextCell(shell)  # type: ignore[arg-type] # all that is used of it

    said = [shell.run(cells, "x = 1", cellId="a", deletedCells=deleted) for deleted in ([], ["b"])]

    assert (said, shell.made) == (["", ""], ["x = 1", "x = 1"])


def test_a_terminal_gets_its_next_line_each_time() -> None:
    made: list[str] = []
    cells = NextCell(SimpleNamespace(set_next_input=made.append))  # type: ignore[arg-type] # all that is used of it

    said = [cells.insert("x = 1") for _ in range(2)]

    assert (said, made) == (["", ""], ["x = 1", "x = 1"])
