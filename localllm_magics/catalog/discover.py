"""The list of models that can be used."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm_magics import demo
from localllm_magics.catalog.inspect import inspect_file, is_first_present_part
from localllm_magics.catalog.ollama_store import stored_models
from localllm_magics.core.errors import SetupError
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.table import Printer, Table, to_count, to_size

if TYPE_CHECKING:
    import pandas as pd

DEMO = "demo"
MOST_SHOWN = 100
"""Rows of the table; some servers list 100,000 models."""
_HEADERS = ("Reference", "Name", "Architecture", "Parameters", "Quantization", "Size", "Context", "Kind", "Source")


class ModelList(list[ModelInfo]):
    """Models, displayed as a table, of which the first `MOST_SHOWN` are shown.

    Args:
        models: In the order of the table.
        notes: Sentences below the table.
        command: What lists them, and takes a word that is in their names.
    """

    def __init__(
        self, models: Iterable[ModelInfo] = (), *, notes: Sequence[str] = (), command: str = "%llm models"
    ) -> None:
        super().__init__(models)
        self.notes = tuple(notes)
        self._command = command

    def with_name(self, part: str) -> "ModelList":
        """Those with PART in their name or reference, in whatever case; an empty one is in all."""
        wanted = part.casefold()
        found = (info for info in self if wanted in info.reference.casefold() or wanted in info.name.casefold())
        named = ModelList(found, notes=self.notes, command=self._command)
        if not named and self:
            named.notes = (f"No model has {part!r} in its name. To see all, type: {self._command}", *self.notes)
        return named

    def to_table(self) -> Table:
        """The table that a terminal or a notebook shows."""
        shown = self[:MOST_SHOWN]
        more = f"These are {len(shown)} of {len(self):,}. For those with a word in their names: {self._command} WORD"
        problems = [info.problem for info in shown if info.problem is not None]
        notes = (*problems, *[more][: len(self) - len(shown)], *self.notes)
        return Table(headers=_HEADERS, rows=tuple(_row(info) for info in shown), notes=notes)

    def to_pandas(self) -> "pd.DataFrame":
        """A DataFrame with a column for each field that the `repr` of `ModelInfo` has.

        Raises:
            SetupError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as exc:
            raise SetupError("A DataFrame needs pandas, which is not installed.", "pip install pandas") from exc
        names = [field.name for field in fields(ModelInfo) if field.repr]
        return pd.DataFrame([[getattr(info, name) for name in names] for info in self], columns=names)

    def __repr__(self) -> str:
        return str(self.to_table())

    def _repr_markdown_(self) -> str:
        return self.to_table().to_markdown()

    def _repr_pretty_(self, printer: Printer, is_cyclic: bool) -> None:
        self.to_table()._repr_pretty_(printer, is_cyclic)


def running_folder() -> Path:
    """The folder in which we run; one that was deleted is the relative path to it, where no file is found."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def discover(folder: Path) -> ModelList:
    """List the bundled model, the GGUF files in FOLDER itself, and Ollama's models, unreadable ones too."""
    found = [inspect_file(path, reference=path.name, source="folder") for path in model_files(folder)]
    return ModelList([bundled_model(), *found, *ollama_models()])


def bundled_model() -> ModelInfo:
    """The model in the package."""
    return replace(inspect_file(demo.PATH, reference=DEMO, source="bundled"), name=DEMO)


def ollama_models() -> list[ModelInfo]:
    """The models of Ollama's store; one with the name of the bundled model has a reference with its tag."""
    models = stored_models()
    return [replace(info, reference=info.name) if info.reference.casefold() == DEMO else info for info in models]


def model_files(folder: Path) -> list[Path]:
    """The GGUF files in FOLDER itself, sorted by name, a split model once; none if FOLDER cannot be read."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: (path.name.casefold(), path.name))
    except (OSError, ValueError):
        return []
    named = [path for path in entries if path.name.lower().endswith(".gguf") and not path.name.startswith(".")]
    return [path for path in named if not path.is_dir() and is_first_present_part(path)]


def _row(info: ModelInfo) -> tuple[str, ...]:
    return (
        info.reference,
        info.name,
        info.architecture or "",
        to_count(info.parameters),
        info.quantization or "",
        to_size(info.size_bytes),
        f"{info.context:,}" if info.context else "",
        "unreadable" if info.problem is not None else info.kind or "",
        info.source,
    )
