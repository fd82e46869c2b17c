"""GPT4All's models: files in the folder that its settings name, else in one of its own.

See gpt4all-chat/src/mysettings.cpp, whose settings Qt keeps as an INI file; the Python package has a folder of its own.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from localllm_magics.catalog.sources.home import Home, read_text
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo

_MODEL_PATH = re.compile(r"^modelPath=(.+)$", re.MULTILINE)


def roots(home: Home) -> list[Path]:
    """Where its models may be."""
    settings = (
        home.config if home.system == "win32" else next(iter(home.named("XDG_CONFIG_HOME")), home.folder / ".config")
    )
    chosen = _MODEL_PATH.findall(read_text(settings / "nomic.ai" / "GPT4All.ini"))
    named = [Path(text.strip()) for text in chosen]
    own = [home.local_data / "nomic.ai" / "GPT4All", home.folder / ".cache" / "gpt4all"]
    return [path for path in (*named, *own) if path.is_absolute()]


def find(search: Search) -> Iterator[ModelInfo]:
    """Its models, by the names of their files."""
    for root in roots(search.home):
        yield from search.models(root, lambda path: path.name)
