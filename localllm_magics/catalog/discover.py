"""The models on this machine, wherever programs keep them."""

import os
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from localllm_magics import demo
from localllm_magics.catalog.header_cache import HeaderCache
from localllm_magics.catalog.inspect import inspect_file, is_first_present_part
from localllm_magics.catalog.scan import ModelSource, Scan
from localllm_magics.catalog.sources import bundled, folder, gpt4all, huggingface, jan, llama_cpp, lmstudio, ollama
from localllm_magics.catalog.sources.home import Home
from localllm_magics.catalog.sources.search import Search
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.engines.file_stamp import identity

DEMO = bundled.DEMO
SILENCE = 5.0
"""After how many seconds without an answer of the system a source is given up, as on a dead network mount."""
MOST_SECONDS = 30.0
"""After how many seconds a source is given up that still answers."""
STORES = (
    ModelSource(name="huggingface", title="Hugging Face's cache", find=huggingface.find),
    ModelSource(name="ollama", title="Ollama's store", find=ollama.find),
    ModelSource(name="lmstudio", title="LM Studio's folder", find=lmstudio.find),
    ModelSource(name="llama.cpp", title="llama.cpp's cache", find=llama_cpp.find),
    ModelSource(name="gpt4all", title="GPT4All's folder", find=gpt4all.find),
    ModelSource(name="jan", title="Jan's folder", find=jan.find),
)
"""Other programs' models; of a file that several have, the first one is listed."""
VARIABLES = (
    "HOME",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "OLLAMA_MODELS",
    "LMSTUDIO_HOME",
    "LLAMA_CACHE",
    "JAN_DATA_FOLDER",
)
"""The variables of the environment that say where models are."""
_MOST_SCANS = 100
_HEADERS = HeaderCache()


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a search has found.

    Args:
        models: In order of the sources; a file may be among them several times, under different names.
        notes: What is missing, in sentences.
    """

    models: tuple[ModelInfo, ...]
    notes: tuple[str, ...] = ()


class Catalog:
    """The models on this machine; for any thread.

    Args:
        headers: What is known of files, by default in all of this process.
        stores: Where other programs keep models.
        silence: After how many seconds without an answer one is given up.
    """

    def __init__(
        self, headers: HeaderCache = _HEADERS, stores: Iterable[ModelSource] = STORES, silence: float = SILENCE
    ) -> None:
        self.model_folders: tuple[str, ...] = ()
        """Folders that are searched with those below them."""
        self._headers = headers
        self._stores = tuple(stores)
        self._silence = silence
        self._scans: dict[object, Scan] = {}

    def find(self, here: Path, most: float = MOST_SECONDS) -> Findings:
        """Search all sources, the running folder HERE among them; those that do not answer in time are noted.

        Args:
            here: The running folder.
            most: How many seconds a search has that goes on, but does not come to its end.
        """
        scans = [self._begin(key, source) for key, source in self._sources(here).items()]
        for scan in scans:
            scan.wait(self._silence, most)
        contents: ChainMap[str, set[str]] = ChainMap(*(dict(scan.search.contents) for scan in scans))
        self._headers.forget_missing(contents)
        self._headers.save()
        return Findings(
            models=tuple(info for scan in scans for info in tuple(scan.found)),
            notes=tuple(note for scan in scans for note in scan.notes()),
        )

    def known(self, here: Path) -> list[ModelInfo]:
        """What the last search of the same sources has found."""
        scans = (self._scans.get(key) for key in self._sources(here))
        return [info for scan in scans if scan for info in tuple(scan.found)]

    def _begin(self, key: object, source: ModelSource) -> Scan:
        """The search of SOURCE; one that hangs is not begun again, and nobody waits for it again."""
        before = self._scans.get(key)
        if before is not None and before.hangs:
            return before
        self._scans[key] = scan = Scan.begin(source, self._headers, Home.current())
        while len(self._scans) > _MOST_SCANS:
            self._scans.pop(next(iter(self._scans)), None)
        return scan

    def _sources(self, here: Path) -> dict[object, ModelSource]:
        """All sources, by what makes each another one: where they are, and the process, for threads are not forked."""
        variables = tuple(map(os.environ.get, VARIABLES))
        places = [("", ModelSource(name="bundled", title="The package", find=bundled.find))]
        places.append((str(here), _folder(here, folder.find_here)))
        home = Home.current()
        places += [(text, _folder(here / home.absolute(text), folder.find_below)) for text in self.model_folders]
        places += [("", store) for store in self._stores]
        return {(os.getpid(), variables, source.name, place, source.title): source for place, source in places}


def bundled_model() -> ModelInfo:
    """The model in the package."""
    return replace(inspect_file(demo.PATH, reference=DEMO, source="bundled"), name=DEMO)


def running_folder() -> Path:
    """The folder in which we run; one that was deleted is the relative path to it, where no file is found."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def model_files(here: Path) -> list[Path]:
    """The GGUF files in a folder, sorted by name, a split model once; none if the folder cannot be read."""
    _, names = next(Search("folder", _HEADERS, Home.current()).folders(here), (here, []))
    return [path for name in names if (path := here / name).suffix.lower() == ".gguf" and is_first_present_part(path)]


def distinct(models: Iterable[ModelInfo]) -> list[ModelInfo]:
    """MODELS with each file once, and with references that differ; names of Ollama's for one file are all kept.

    The first of those that share a file is the one that stays, and the first of those that share a reference keeps it.
    """
    first: dict[tuple[int, int], ModelInfo] = {}
    references: set[str] = set()
    kept = []
    for info in models:
        key = identity(info)
        same = first.setdefault(key, info) if key else info
        if same is info or same.source == info.source == "ollama":
            reference = info.reference if info.reference.casefold() not in references else _longer_reference(info)
            references.add(reference.casefold())
            kept.append(replace(info, reference=reference) if reference != info.reference else info)
    return kept


def _folder(path: Path, find: Callable[[Search, Path], Iterator[ModelInfo]]) -> ModelSource:
    return ModelSource(name="folder", title=f"The folder {path}", find=lambda search: find(search, path))


def _longer_reference(info: ModelInfo) -> str:
    """A reference to a model for one whose usual reference another model has."""
    if info.source == "ollama" or info.path is None:
        return info.name  # with its tag
    home = Home.current().folder
    return f"~/{info.path.relative_to(home).as_posix()}" if info.path.is_relative_to(home) else str(info.path)
