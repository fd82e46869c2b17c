"""Jan's models: folders with a `model.yml`, which says where the file is, below the data folder that its settings name.

See `resolve_jan_data_folder` in src-tauri/src/core/app/commands.rs of Jan, and its documentation for the layout.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from localllm_magics.catalog.sources.home import Home, read_setting, read_text
from localllm_magics.catalog.sources.search import DEEPEST, Search
from localllm_magics.core.model_info import ModelInfo

_FILE = re.compile(r"""^(model|mmproj)_path:[ \t]*["']?(.+?)["']?[ \t]*\r?$""", re.MULTILINE)
_DESCRIPTION = "model.yml"


def data_folders(home: Home) -> list[Path]:
    """The data folder, the likeliest one first."""
    settings = (home.data / name / "settings.json" for name in ("Jan", "jan.ai.app"))
    texts = (read_setting(path, "data_folder") for path in (*settings, home.config / "Jan" / "settings.json"))
    chosen = [Path(text) for text in texts if text]
    folders = (*home.named("JAN_DATA_FOLDER"), *chosen, home.data / "Jan" / "data", home.folder / "jan")
    return [path for path in folders if path.is_absolute()]


def find(search: Search) -> Iterator[ModelInfo]:
    """Its models, by the names that Jan gives them."""
    for data in data_folders(search.home):
        for root in (data / "llamacpp" / "models", data / "models"):
            yield from _find_in(search, data, root)


def _find_in(search: Search, data: Path, root: Path) -> Iterator[ModelInfo]:
    for folder, names in search.folders(root, DEEPEST):
        if _DESCRIPTION in names:
            name = folder.relative_to(root).as_posix()
            for kind, path in _files(folder / _DESCRIPTION):
                yield search.inspect(data / path, name if kind == "model" else f"{name}:mmproj")
        for file in names:
            yield from search.model(folder / file, lambda path: path.relative_to(root).as_posix())


def _files(description: Path) -> list[tuple[str, str]]:
    """The kinds and paths of the files in a DESCRIPTION, without those that may lead out of the data folder."""
    return [(kind, path) for kind, path in _FILE.findall(read_text(description)) if ".." not in Path(path).parts]
