"""Nothing that lies in a folder of models can raise anything, or hang; `python -m tools.broken_models` tries 5,000."""

import shutil
from contextlib import suppress
from pathlib import Path

from localllm_magics.catalog.inspect import describe_file, inspect_file
from localllm_magics.core.errors import LocalLLMError
from tests.catalog.broken_files import broken_files
from tests.catalog.gguf_files import DEMO
from tests.catalog.sources.searching import new_search

COUNT = 300


def test_broken_files_are_listed_with_their_problems(tmp_path: Path) -> None:
    for name, data in broken_files(DEMO, COUNT):
        (tmp_path / name).write_bytes(data)

    found = list(new_search(tmp_path).models(tmp_path, lambda path: path.name))

    assert COUNT * 0.9 <= len(found) <= COUNT
    assert sum(info.problem is None for info in found) < COUNT * 0.1
    assert all(info.problem is None or info.problem.endswith(".") for info in found)


def test_what_is_wrong_with_a_file_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for _, data in broken_files(DEMO, COUNT, seed=2):
        path.write_bytes(data)
        with suppress(LocalLLMError):
            describe_file(path, reference="x", source="folder")


def test_a_model_that_is_cut_off_anywhere_says_so(tmp_path: Path) -> None:
    path = Path(shutil.copy(DEMO, tmp_path / "x.gguf"))
    for size in range(path.stat().st_size - 1, 0, -50_000):
        with path.open("r+b") as file:
            file.truncate(size)

        assert "cut off" in str(inspect_file(path, reference="x", source="folder").problem)
