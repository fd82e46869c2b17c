"""LM Studio's models: `PUBLISHER/REPO/FILE` in a folder that its settings name.

Its home is found as lms-common-server/src/findLMStudioHome.ts of lmstudio-js does; `downloadsFolder` is in the
settings.json there, or beside the settings of the desktop program.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from localllm_magics.catalog.inspect import model_stem
from localllm_magics.catalog.sources.home import Home, read_setting, read_text
from localllm_magics.catalog.sources.search import DEEPEST, Search
from localllm_magics.core.model_info import ModelInfo


def roots(home: Home) -> list[Path]:
    """Where its models may be."""
    pointer = read_text(home.folder / ".lmstudio-home-pointer").strip()
    homes = [
        *home.named("LMSTUDIO_HOME"),
        *([Path(pointer)] if pointer else []),
        home.folder / ".cache" / "lm-studio",
        home.folder / ".lmstudio",
    ]
    settings = [*(folder / "settings.json" for folder in homes), home.config / "LM Studio" / "settings.json"]
    chosen = [Path(text) for text in (read_setting(path, "downloadsFolder") for path in settings) if text]
    models = [folder / "models" for folder in homes]
    bundled = [folder / ".internal" / "bundled-models" for folder in homes]
    return [path for path in (*chosen, *models, *bundled) if path.is_absolute()]


def find(search: Search) -> Iterator[ModelInfo]:
    """Its models, named as in Hugging Face's cache: `PUBLISHER/REPO:FILE`."""
    for root in roots(search.home):
        yield from search.models(root, _reference(root), DEEPEST)


def _reference(root: Path) -> Callable[[Path], str]:
    def to_reference(path: Path) -> str:
        folder, stem = path.parent.relative_to(root).as_posix(), model_stem(path)
        return stem if folder == "." else f"{folder}:{stem}"

    return to_reference
