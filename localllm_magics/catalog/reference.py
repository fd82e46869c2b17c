"""From what a user types to the model that it names."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from localllm_magics.catalog.discover import DEMO, bundled_model, discover, model_files, ollama_models
from localllm_magics.catalog.file_stamp import read_stamp
from localllm_magics.catalog.inspect import describe_file, first_part
from localllm_magics.catalog.ollama_store import describe_stored, find_stored
from localllm_magics.core.errors import LoadFailed, ModelNotFound
from localllm_magics.core.model_info import Kind, ModelInfo
from localllm_magics.engines.ollama.name import parse_name

_MOST_NAMED = 5
_LIST = "%llm models"
_NO_TEXT: dict[Kind | None, str] = {
    "embedding": "makes vectors of text and cannot generate any; load a chat model instead",
    "projector": "is the image part of a model and cannot generate text; load the model that it belongs to",
    "adapter": "is an adapter (LoRA) and no model of its own; load the model that it was made for",
    "vocabulary": "has a vocabulary and no weights; load the file that has the weights",
}


def resolve(reference: str, folder: Path, others: Callable[[], Sequence[ModelInfo]] = lambda: ()) -> ModelInfo:
    """Return the model that REFERENCE names; relative paths and names are looked for in FOLDER, then among OTHERS.

    There are four cases: `demo`, an existing file, something written as a path, and a name of the list or a part
    of one. Names of Ollama's models can be written like paths.

    Raises:
        ModelNotFound: Nothing or more than one thing answers to it.
        ModelError: The file cannot be used, or makes no text.
    """
    text = reference.strip()
    if text == DEMO:
        return _usable(bundled_model())
    path = _to_path(text, folder)
    if text and _answers(path.exists) and not _answers(path.is_dir):
        return _usable(_describe(path, text))
    if not _is_written_as_path(text):
        return _usable(_named(text, path, discover(folder), others))
    matches = _matches(text, ollama_models()) if parse_name(text) else []
    if not matches:
        raise _no_file(text, path)
    return _usable(_only(text, matches))


def _describe(path: Path, reference: str) -> ModelInfo:
    """The model in a GGUF file, or in a llamafile, whose weights are copied out."""
    if path.suffix.lower() != ".llamafile":
        return describe_file(first_part(path), reference=reference, source="folder")
    from localllm_magics.catalog.llamafile_weights import extract_weights

    stamp = read_stamp(path)
    info = describe_file(extract_weights(path), reference=reference, source="folder")
    return replace(info, files=(stamp,) if stamp is not None else ())


def _to_path(text: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:  # ~somebody whom the system does not know
        return folder / text


def _answers(question: Callable[[], bool]) -> bool:
    """Ask about a path; one that is too long, forbidden or impossible is not there."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _is_written_as_path(text: str) -> bool:
    return "/" in text or "\\" in text or text in {"~", ".", ".."} or text.lower().endswith(".gguf")


def _named(text: str, path: Path, near: Sequence[ModelInfo], others: Callable[[], Sequence[ModelInfo]]) -> ModelInfo:
    matches, models = _matches(text, near), near
    if not matches and text:
        models = [*near, *others()]
        matches = _matches(text, models)
    if matches:
        return _only(text, matches)
    if text and _answers(path.is_dir):
        raise _is_folder(text, path)
    raise _unknown(text, models)


def _only(text: str, matches: Sequence[ModelInfo]) -> ModelInfo:
    if len(matches) == 1:
        return matches[0]
    # The name of a stored model has its tag, so that it is not that of a file too.
    names = [info.name if info.source == "ollama" else info.reference for info in matches]
    raise ModelNotFound(f"{text!r} names {len(matches)} models: {_several(names)}.", _load(names[0]))


def _matches(text: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The models of that name, else those that have it in theirs, those that make text before others."""
    wanted = text.casefold()
    if not wanted:
        return []
    stored = find_stored(text, models)
    exact = [info for info in models if wanted in _names(info) or info in stored]
    partial = exact or [info for info in models if any(wanted in name for name in _names(info))]
    able = [info for info in partial if info.problem is None and info.kind not in _NO_TEXT]
    return able if len(able) == 1 else partial


def _names(info: ModelInfo) -> tuple[str, ...]:
    reference = info.reference.casefold()
    return reference, reference.removesuffix(".gguf"), info.name.casefold()


def _usable(info: ModelInfo) -> ModelInfo:
    """Return INFO if it can generate text; one with a problem is read again, for the error itself."""
    if info.problem is not None and info.source == "ollama":
        info = describe_stored(info.name)
    elif info.problem is not None and info.path is not None:
        info = describe_file(info.path, reference=info.reference, source=info.source)
    if info.kind in _NO_TEXT:
        raise LoadFailed(f"{info.reference} {_NO_TEXT[info.kind]}.", _LIST)
    return info


def _no_file(text: str, path: Path) -> ModelNotFound:
    if _answers(path.is_dir):
        return _is_folder(text, path)
    if not _answers(path.parent.is_dir):
        return ModelNotFound(f"There is no file {text}: the folder {path.parent} does not exist.", _LIST)
    there = {file.name.casefold(): file.name for file in model_files(path.parent)}
    near = _nearest(path.name, there) or list(there.values())
    if not near:
        return ModelNotFound(f"There is no file {text}, and no GGUF file in its folder.", _LIST)
    shown = [_beside(text, name) for name in near]
    return ModelNotFound(f"There is no file {text}. There is: {_several(shown)}.", _load(shown[0]))


def _is_folder(text: str, path: Path) -> ModelNotFound:
    names = [_inside(text, file.name) for file in model_files(path)]
    if not names:
        return ModelNotFound(f"{text} is a folder, and has no GGUF files.", _LIST)
    return ModelNotFound(f"{text} is a folder. It has: {_several(names)}.", _load(names[0]))


def _unknown(text: str, models: Sequence[ModelInfo]) -> ModelNotFound:
    near = _nearest(text, {name: info.reference for info in models for name in _names(info)})
    among = f" The nearest: {_several(near)}." if near else ""
    return ModelNotFound(f"There is no model {text!r}.{among}", _LIST)


def _nearest(text: str, names: Mapping[str, str]) -> list[str]:
    """What the folded names most like TEXT stand for, each once."""
    near = get_close_matches(text.casefold(), names, n=_MOST_NAMED)
    return list(dict.fromkeys(names[name] for name in near))


def _beside(text: str, name: str) -> str:
    """NAME with the folder that TEXT was typed with."""
    return text[: max(text.rfind("/"), text.rfind("\\")) + 1] + name


def _inside(text: str, name: str) -> str:
    return f"{text.rstrip('/')}/{name}"


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (f", … ({len(names)} in all)" if len(names) > _MOST_NAMED else "")


def _load(reference: str) -> str:
    return f"%llm load {shlex.quote(reference)}"
