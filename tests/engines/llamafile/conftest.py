import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm_magics import demo
from localllm_magics.engines.llamafile.pool import ProcessPool
from tests.server.llamafile_stand_in import make_llamafile

ARGS = "-m\n/zip/model.gguf\n-c\n256\n...\n"


@pytest.fixture(scope="session")
def server() -> Path:
    """The real llama-server, which the set-up for tests compiles."""
    found = shutil.which("llama-server", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("llama-server is not compiled")
    return Path(found)


@pytest.fixture
def llamafile(tmp_path: Path, server: Path) -> Path:
    return make_llamafile(tmp_path / "x.llamafile", demo.PATH, ARGS, server)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ProcessPool]:
    pool = ProcessPool(tmp_path / "logs")
    yield pool
    for shared in list(pool._pooled.values()):  # noqa: SLF001 - what a failed test left behind
        shared.process.stop()
