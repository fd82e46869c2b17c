"""The model references that begin with a word: never from the network, and of no folder more than a bounded part."""

import os
import re
from collections.abc import Iterator
from itertools import islice

from localllm_magics.catalog.discover import DEMO, distinct, running_folder
from localllm_magics.session import Session

_PROGRAM = "llamafile:"
_SCHEMES = ("ollama:", "openai:", _PROGRAM)
_MODEL_FILES = (".gguf", ".llamafile")
_PART = re.compile(r"-\d{5}(-of-\d{5}\.gguf)$", re.IGNORECASE)
_SECONDS = 0.3
"""How long the stores of other programs have to answer; what is found later is offered the next time."""
MAX_ENTRIES = 10_000
"""How many entries of a folder are read."""


def matching_references(word: str, session: Session) -> list[str]:
    """Models by name, and files and folders by path, of which only the paths are sure to begin with WORD."""
    here = running_folder()
    listed = distinct(session.catalog.find(here, _SECONDS).models)
    stored = [info.reference for info in listed if info.path is None or info.path.parent != here]
    scheme = _PROGRAM if word.startswith(_PROGRAM) else ""
    paths = (f"{scheme}{path}" for path in matching_paths(word.removeprefix(scheme)))
    return [*loaded_references(word, session), *session.listed, DEMO, *stored, *_SCHEMES, *paths]


def loaded_references(_word: str, session: Session) -> list[str]:
    """The models that are in use."""
    return [model.info.reference for model in session.models]


def matching_paths(word: str, max_entries: int = MAX_ENTRIES) -> Iterator[str]:
    """Model files and folders whose path begins with WORD; folders not for an empty one, of which there may be many."""
    start = os.path.basename(word)  # noqa: PTH119 - a Path forgets how its parts are separated
    folder = word.removesuffix(start)
    if start in {".", ".."} or word == "~":
        yield f"{word}/"
    models: set[str] = set()
    for entry in _entries(folder, start, max_entries):
        path = f"./{entry.name}" if not folder and entry.name.startswith("-") else f"{folder}{entry.name}"
        model = _PART.sub(r"\1", entry.name)
        if os.path.isdir(entry):  # noqa: PTH112 - unlike the entry's own, it never fails
            yield from [f"{path}/"] if word else []
        elif entry.name.lower().endswith(_MODEL_FILES) and model not in models:
            models.add(model)
            yield path


def _entries(folder: str, start: str, max_entries: int) -> list[os.DirEntry[str]]:
    """What is in FOLDER and begins with START, by name; nothing where it cannot be read."""
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:  # noqa: PTH111 - unlike Path's, it never fails
            found = [entry for entry in islice(entries, max_entries) if entry.name.startswith(start)]
    except (OSError, ValueError):
        return []
    shown = [entry for entry in found if entry.name.isprintable() and entry.name.startswith(".") == (start[:1] == ".")]
    return sorted(shown, key=lambda entry: entry.name)
