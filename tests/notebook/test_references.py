"""What a model reference can be, as far as it is typed."""

import os
from pathlib import Path

import pytest

from localllm_magics.notebook.references import matching_paths


def test_of_a_huge_folder_a_part_is_offered(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"z{number}.gguf").touch()

    assert len(list(matching_paths(f"{tmp_path}/z", max_entries=3))) == 3


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_leads_nowhere_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "z.gguf").symlink_to("z.gguf")

    assert list(matching_paths(f"{tmp_path}/z")) == [f"{tmp_path}/z.gguf"]
