"""Resolving a reference to a model."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from localllm_magics.catalog.discover import DEMO, Catalog, bundled_model, distinct, model_files
from localllm_magics.catalog.inspect import describe_file, first_part, model_stem
from localllm_magics.catalog.meant import meant
from localllm_magics.catalog.sources.folder import to_reference
from localllm_magics.catalog.sources.huggingface import current_among
from localllm_magics.catalog.sources.ollama import describe_stored, find_stored
from localllm_magics.catalog.sources.search import is_unfinished
from localllm_magics.core.errors import LoadFailed, ModelNotFound
from localllm_magics.core.hints import LIST_MODELS
from localllm_magics.core.model_info import Kind, ModelInfo
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.engines.file_stamp import broken_link, is_unchanged, read_stamp
from localllm_magics.engines.ollama.name import parse_name

_MAX_NAMES_SHOWN = 5
_REPOSITORIES = ("huggingface", "lmstudio", "llama.cpp")  # sources that name models by them
_MODEL_FILES = (".gguf", ".llamafile")
_END_OF_DOWNLOAD = "Let its download come to its end, then load it."
_LONGEST_SHOWN = 200
_MOST_COMPARED = 5_000  # names, in half a second
_NO_TEXT: dict[Kind | None, str] = {
    "embedding": "makes vectors of text and cannot generate any; load a chat model instead",
    "projector": "is the image part of a model and cannot generate text; load the model that it belongs to",
    "adapter": "is an adapter (LoRA) and no model of its own; load the model that it was made for",
    "vocabulary": "has a vocabulary and no weights; load the file that has the weights",
}


def resolve(
    reference: str,
    folder: Path,
    others: Callable[[], Sequence[ModelInfo]] = lambda: (),
    catalog: Catalog | None = None,
) -> ModelInfo:
    """Return the model that REFERENCE names; relative paths and names are looked up in FOLDER, then in OTHERS.

    There are four cases: `demo`, an existing file, something written as a path, and a listed name or a part of
    one. Names in a store can look like paths.

    Args:
        reference: What the user typed.
        folder: The running folder.
        others: The models of servers.
        catalog: Where the stores of this machine are searched, and what was found in them before.

    Raises:
        ModelNotFound: It names no model, or more than one.
        ModelError: The file cannot be loaded, or is of a kind that does not generate text.
    """
    text, catalog = reference.strip(), catalog or Catalog()
    if not text:
        raise _unknown(text, ())
    if text == DEMO:
        return _usable(bundled_model())
    path = _to_path(text, folder)
    if read_stamp(path) is not None and not _is_folder(path):
        if is_unfinished(path):
            raise LoadFailed(f"{_shown(text)} is not downloaded completely.", _END_OF_DOWNLOAD)
        return _usable(describe_file(first_part(path), reference=text, source="folder"))
    if problem := broken_link(path, _shorten(text)):
        raise ModelNotFound(problem, "Make the link anew, or download the file again.")
    return _usable(_known(text, folder, catalog) or _find(text, path, catalog.find(folder).models, others))


def _find(text: str, path: Path, models: Sequence[ModelInfo], others: Callable[[], Sequence[ModelInfo]]) -> ModelInfo:
    """The model that TEXT names or a part of whose name it is; PATH is what it would be as a path."""
    may_be_part = not is_path_like(text) or parse_name(text) is not None
    matches = _exact(text, models) or (_containing(text, models) if may_be_part else [])
    if not matches and not is_path_like(text):
        models = [*models, *others()]
        matches = _exact(text, models) or _containing(text, models)
    if matches:
        return _require_one(text, matches)
    raise _not_found(text, path, distinct(models))


def _not_found(text: str, path: Path, models: Sequence[ModelInfo]) -> ModelNotFound:
    if error := _not_in_repository(text, models):
        return error
    if _is_folder(path):
        return _no_model_but_folder(text, path)
    return _no_file(text, path) if is_path_like(text) else _unknown(text, models)


def _known(text: str, folder: Path, catalog: Catalog) -> ModelInfo | None:
    """The model of which TEXT was the whole name when it was found before, if it is still the same.

    The running folder is where new files come; there is none of that name.
    """
    is_new = any(read_stamp(folder / f"{text}{suffix}") for suffix in _MODEL_FILES)
    found = [] if is_new else _exact(text, catalog.known(folder))
    return found[0] if len(found) == 1 and is_unchanged(found[0]) else None


def _to_path(text: str, folder: Path) -> Path:
    path = folder / os.path.expanduser(text)  # noqa: PTH111 - unlike Path's, it accepts ~ with an unknown user
    if os.name != "nt" and "\\" in text and read_stamp(path) is None:
        return _to_path(text.replace("\\", "/"), folder)  # as it is written on Windows
    return path


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - unlike Path's, it accepts a path that is too long or has a null character


def is_path_like(text: str) -> bool:
    """Whether TEXT is written as the path of a file, be it there or not."""
    return "/" in text or "\\" in text or text in {"~", ".", ".."} or text.lower().endswith(".gguf")


def _require_one(text: str, matches: Sequence[ModelInfo]) -> ModelInfo:
    if len(matches) == 1:
        return matches[0]
    # The name of a model in Ollama's store has its tag, so that it differs from that of a file.
    names = [info.name if info.source == "ollama" else info.reference for info in matches]
    raise ModelNotFound(f"{_shorten(text)!r} names {len(matches)} models: {_join(names)}.", _load(*names))


def _exact(text: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The models with that name, which may be that of a store for a file that is listed under another one's."""
    return _usable_among(_named(text, distinct(models)) or distinct(_named(text, models)))


def _named(text: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    wanted, stored = text.casefold(), find_stored(text, models)
    return [info for info in models if wanted in _names(info) or info in stored]


def _containing(text: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    wanted = text.casefold()
    return _usable_among([info for info in distinct(models) if any(wanted in name for name in _names(info))])


def _usable_among(models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """Those of MODELS that generate text, else all; of a repository the current revision, where that is among them."""
    usable = [info for info in models if info.problem is None and info.kind not in _NO_TEXT]
    return current_among(usable or models)


def _names(info: ModelInfo) -> tuple[str, ...]:
    """What it is called, case-folded: its reference, name and file, and in its repository the file and quantization."""
    reference = info.reference.casefold()
    names = [reference, reference.removesuffix(".gguf"), info.name.casefold()]
    if info.path is not None and info.source not in ("ollama", "bundled"):
        names += [info.path.name.casefold(), model_stem(info.path).casefold()]
    repository, colon, _ = reference.partition(":")
    if colon and info.source in _REPOSITORIES and info.path is not None:
        inside = (info.path.name, model_stem(info.path), *filter(None, [info.quantization]))
        names += [f"{reference}.gguf", *(f"{repository}:{name.casefold()}" for name in inside)]
    return tuple(names)


def _usable(info: ModelInfo) -> ModelInfo:
    """Return INFO if it can generate text; one with a problem is read again, to raise the error itself."""
    if info.problem is not None and info.path is not None and _is_download(info.path):
        raise LoadFailed(info.problem, _END_OF_DOWNLOAD)
    if info.problem is not None and info.source == "ollama":
        info = describe_stored(info.name)
    elif info.problem is not None and info.path is not None:
        info = describe_file(info.path, reference=info.reference, source=info.source)
    if info.kind in _NO_TEXT:
        raise LoadFailed(f"{_shown(info.reference)} {_NO_TEXT[info.kind]}.", LIST_MODELS)
    return info


def _is_download(path: Path) -> bool:
    return path.suffix.lower() not in _MODEL_FILES or is_unfinished(path)


def _no_file(text: str, path: Path) -> ModelNotFound:
    if not _is_folder(path.parent):
        hint = meant(text[:_LONGEST_SHOWN]) or LIST_MODELS
        parent = _shown(str(path.parent))
        return ModelNotFound(f"There is no file {_shown(text)}: the folder {parent} does not exist.", hint)
    there = {file.name.casefold(): file.name for file in model_files(path.parent)}
    near = _nearest(path.name, there) or list(there.values())
    if not near:
        return ModelNotFound(f"There is no file {_shown(text)}, and no GGUF file in its folder.", LIST_MODELS)
    start = text[: max(text.rfind("/"), text.rfind("\\")) + 1]
    names = [start + name if start else to_reference(Path(name)) for name in near]
    return ModelNotFound(f"There is no file {_shown(text)}. There is: {_join(names)}.", _load(*names))


def _no_model_but_folder(text: str, path: Path) -> ModelNotFound:
    names = [f"{text.rstrip('/')}/{file.name}" for file in model_files(path)]
    if not names:
        return ModelNotFound(f"{_shown(text)} is a folder, and has no GGUF files.", LIST_MODELS)
    return ModelNotFound(f"{_shown(text)} is a folder. It has: {_join(names)}.", _load(*names))


def _not_in_repository(text: str, models: Sequence[ModelInfo]) -> ModelNotFound | None:
    """What the repository has before the colon in TEXT, if that is one of which there are MODELS."""
    repository, colon, wanted = text.partition(":")
    start = f"{repository}:".casefold()
    inside = [info for info in models if info.source in _REPOSITORIES and info.reference.casefold().startswith(start)]
    if not (colon and inside):
        return None
    names = [info.reference for info in _usable_among(inside)]
    return ModelNotFound(f"{_shown(repository)} has no {_shorten(wanted)!r}. It has: {_join(names)}.", _load(*names))


def _unknown(text: str, models: Sequence[ModelInfo]) -> ModelNotFound:
    near = _nearest(text, {name: info.reference for info in reversed(models) for name in _names(info)})
    among = f" The nearest: {_join(near)}." if near else ""
    may_pull = f" To have Ollama download it, type: %llm pull ollama:{text}" if not near and parse_name(text) else ""
    return ModelNotFound(f"There is no model {_shorten(text)!r}.{among}", f"{LIST_MODELS}{may_pull}")


def _nearest(text: str, names: Mapping[str, str]) -> list[str]:
    """The values of the case-folded names closest to TEXT, without duplicates."""
    near = get_close_matches(text.casefold(), islice(names, _MOST_COMPARED), n=_MAX_NAMES_SHOWN)
    return list(dict.fromkeys(names[name] for name in near))


def _join(names: Sequence[str]) -> str:
    return ", ".join(map(to_printable, names[:_MAX_NAMES_SHOWN])) + (
        f", … ({len(names)} in all)" if len(names) > _MAX_NAMES_SHOWN else ""
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _shown(text: str) -> str:
    return to_printable(_shorten(text))


def _load(*references: str) -> str:
    """A hint at the first of REFERENCES that can be typed."""
    typeable = [reference for reference in references if reference.isprintable()]
    return f"Type: %llm load {shlex.quote(typeable[0])}" if typeable else LIST_MODELS
