from pathlib import Path

import pytest

from localllm_magics.engines.kernel.library import Library, library


@pytest.fixture(scope="session")
def lib() -> Library:
    return library()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
