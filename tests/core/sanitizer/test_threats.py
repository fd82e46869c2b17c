"""Each threat that the package lists is met by a test."""

import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from localllm_magics.core import sanitizer
from tests.core.sanitizer import test_bounds, test_control, test_growing, test_markdown, test_tex


def rows() -> list[list[str]]:
    """Threat, defence and test, without the two lines of the table's head."""
    lines = (sanitizer.__doc__ or "").splitlines()
    return [re.split(r" \| ", line.strip("| ")) for line in lines if line.startswith("|")][2:]


def ids_of(module: ModuleType) -> Iterator[str]:
    """The tests of MODULE, by their names and by those of their parameters."""
    for name, test in vars(module).items():
        if name.startswith("test_"):
            yield name
            for mark in getattr(test, "pytestmark", []):
                yield from (f"{name}[{getattr(param, 'id', None)}]" for param in mark.args[1])


def test_threats_are_listed() -> None:
    assert len(rows()) > 20


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_threat_has_a_defence_and_a_test(row: list[str]) -> None:
    threat, defence, test = row

    assert threat
    assert defence
    modules = [test_bounds, test_control, test_growing, test_markdown, test_tex]
    assert test in {name for module in modules for name in ids_of(module)}
