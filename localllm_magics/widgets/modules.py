"""JavaScript modules joined into one, since a page imports a widget's code as a single text."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<name>[\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?(function|class|const)\b)", re.MULTILINE)


def join(entry: str) -> str:
    """The module ENTRY of this folder, behind all that it imports.

    They share one scope, so their top-level names differ; a test imports the result.
    """
    texts: dict[str, str] = {}
    _collect(entry, texts)
    return "\n".join(texts.values())


def _collect(name: str, texts: dict[str, str]) -> None:
    text = (FOLDER / name).read_text("utf-8")
    for match in _IMPORT.finditer(text):
        if match["name"] not in texts:
            _collect(match["name"], texts)
    texts[name] = _EXPORT.sub("", _IMPORT.sub("", text))
