from pathlib import Path

import pytest


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ollama's store is looked for."""
    folder = tmp_path / "ollama" / "models"
    monkeypatch.setenv("OLLAMA_MODELS", str(folder))
    return folder
