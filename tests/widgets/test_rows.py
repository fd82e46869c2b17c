from pathlib import Path

import pytest

from localllm_magics.core.model_info import ModelInfo
from localllm_magics.widgets.rows import to_row


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param(Path("/home/ada/models/a.gguf"), "~/models/a.gguf", id="below the home folder"),
        pytest.param(Path("/home/adam/a.gguf"), "/home/adam/a.gguf", id="elsewhere"),
        pytest.param(None, None, id="of a server"),
    ],
)
def test_a_path_is_shown_without_the_name_of_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, path: Path | None, shown: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")

    assert to_row(ModelInfo(reference="a", name="a", source="folder", path=path))["path"] == shown
