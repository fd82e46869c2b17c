"""What a model reference can be, as far as it is typed."""

from pathlib import Path

from localllm_magics.notebook.references import matching_paths


def test_of_a_huge_folder_a_part_is_offered(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"z{number}.gguf").touch()

    assert len(list(matching_paths(f"{tmp_path}/z", max_entries=3))) == 3
