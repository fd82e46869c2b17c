"""The description of a model file, from the headers of its parts."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from localllm_magics.catalog.gguf import MOST_LAYERS, Header, Tensor, read_header, require_complete
from localllm_magics.catalog.shape import read_shape
from localllm_magics.core.errors import BadOption, LoadFailed, LocalLLMError, NotAGGUF, TruncatedFile
from localllm_magics.core.ggml_types import GGML_TYPES
from localllm_magics.core.hints import DOWNLOAD_AGAIN
from localllm_magics.core.model_info import FileStamp, Kind, ModelDefaults, ModelInfo, Source
from localllm_magics.core.model_shape import ModelShape
from localllm_magics.core.sampling import SAMPLING_OPTIONS, Sampling
from localllm_magics.core.sanitizer.control import to_printable
from localllm_magics.engines.file_stamp import read_stamp

_FILE_TYPES = dict(
    enumerate(
        "F32 F16 Q4_0 Q4_1 Q4_1 Q4_2 Q4_3 Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
        "IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16 Q4_0 Q4_0 Q4_0 "
        "TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0".split()
    )
)
"""The names of llama.cpp's `enum llama_ftype`."""
_FILE_TYPE_GUESSED = 1024
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_EMBEDDING_ARCHITECTURES = {"eurobert", "gemma-embedding", "llama-embed", "t5encoder"}
_RANGES: Mapping[str, tuple[int, int]] = {
    "block_count": (1, MOST_LAYERS),
    "embedding_length": (1, 1 << 24),
    "expert_count": (0, 1 << 16),
    "attention.layer_norm_epsilon": (0, 1),
    "attention.layer_norm_rms_epsilon": (0, 1),
}
"""The values that optional keys of an architecture can have; llama.cpp aborts the process on some others."""
_MOST_PARTS = 1000
_MOST_SHAPES = 64
_shapes: dict[bytes, ModelShape | None] = {}  # by a digest, for what is in a header can be large
_MAX_NAME_LENGTH = 100
_MAX_NAMES_SHOWN = 3
_ADD_PARTS = "Download what is missing into the same folder, then load the first part."


def inspect_file(path: Path, *, reference: str, source: Source) -> ModelInfo:
    """Describe a model; one that cannot be loaded has a `problem`."""
    try:
        return describe_file(path, reference=reference, source=source)
    except LocalLLMError as error:
        return with_problem(path, error.message, reference=reference, source=source)


def with_problem(path: Path, problem: str, *, reference: str, source: Source) -> ModelInfo:
    """The description of a model that cannot be used."""
    stamps = tuple(stamp for part in model_parts(path) if (stamp := read_stamp(part)) is not None)
    return ModelInfo(
        reference=reference,
        name=model_stem(path),
        source=source,
        path=path,
        size_bytes=sum(stamp.size_bytes for stamp in stamps) if stamps else None,
        problem=problem,
        files=stamps,
    )


def describe_file(path: Path, *, reference: str, source: Source) -> ModelInfo:
    """Describe a model that can be loaded.

    Raises:
        LocalLLMError: Why it cannot be loaded.
    """
    stamps = _stamp_parts(path)
    headers = [_header(part) for part in model_parts(path)]
    for header, part in zip(headers, model_parts(path), strict=True):
        require_complete(header, part)
    first = headers[0]
    tensors = [tensor for header in headers for tensor in header.tensors]
    architecture = _text(first, "general.architecture")
    if architecture is None:
        raise LoadFailed(f"{to_printable(path.name)} names no architecture, so it is no language model.", "%llm models")
    _check_ranges(first, architecture, path)
    return ModelInfo(
        reference=reference,
        name=_text(first, "general.name") or model_stem(path),
        source=source,
        path=path,
        size_bytes=sum(header.size_bytes for header in headers),
        architecture=architecture,
        parameters=sum(tensor.elements for tensor in tensors),
        quantization=_quantization(first, tensors),
        context=_number(first, f"{architecture}.context_length"),
        layers=_number(first, f"{architecture}.block_count"),
        has_chat_template=_has_chat_template(first),
        kind=_kind(first, architecture, tensors),
        defaults=ModelDefaults(sampling=_sampling(first)),
        files=stamps,
        shape=_shape(headers),
    )


def _shape(headers: Sequence[Header]) -> ModelShape | None:
    """The shape of a model, read once for all models that differ in their weights and their vocabulary alone."""
    metadata = headers[0].metadata
    architecture = metadata.get("general.architecture")
    sizes = [item for item in metadata.items() if item[0].startswith(f"{architecture}.")]
    text = repr((architecture, sizes, [header.tensors for header in headers]))
    key = hashlib.sha256(text.encode()).digest()
    if key not in _shapes:
        _shapes[key] = read_shape(headers)
        while len(_shapes) > _MOST_SHAPES:
            _shapes.pop(next(iter(_shapes)), None)
    return _shapes[key]


def first_part(path: Path) -> Path:
    """The part of a split model that is loaded; of any other model the file itself."""
    return next(model_parts(path))


def is_first_present_part(path: Path) -> bool:
    """Whether no earlier part of the same model exists, so that the model is listed under this file."""
    earlier = (part for part in model_parts(path) if part.name.lower() < path.name.lower())
    return not any(read_stamp(part) for part in earlier)


def model_parts(path: Path) -> Iterator[Path]:
    """All parts that the file name implies, whether they exist or not."""
    match = _SPLIT.fullmatch(path.name)
    if match is None or not 0 < int(match["number"]) <= int(match["count"]) <= _MOST_PARTS:
        yield path
        return
    for number in range(1, int(match["count"]) + 1):
        yield path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}{path.suffix}")


def _stamp_parts(path: Path) -> tuple[FileStamp, ...]:
    """The stamps of all parts; a model in one file may be missing, which `read_header` reports."""
    parts = list(model_parts(path))
    stamps = {part: read_stamp(part) for part in parts}
    missing = [part for part in parts if stamps[part] is None]
    if missing and len(parts) > 1:
        names = ", ".join(to_printable(part.name) for part in missing[:_MAX_NAMES_SHOWN])
        names += ", …" if len(missing) > _MAX_NAMES_SHOWN else ""
        raise TruncatedFile(f"{len(missing)} of the {len(parts)} parts of the model are missing: {names}.", _ADD_PARTS)
    return tuple(stamp for stamp in stamps.values() if stamp is not None)


def _header(path: Path) -> Header:
    """The header of a GGUF file, or of the weights in a llamafile."""
    if path.suffix.lower() != ".llamafile":
        return read_header(path)
    from localllm_magics.engines.kernel.embedded_weights import find_weights

    weights = find_weights(path)
    return read_header(path, offset=weights.offset, size=weights.size)


def model_stem(path: Path) -> str:
    """The name of a file without what says which part of a model it is."""
    match = _SPLIT.fullmatch(path.name)
    return _on_one_line(match["stem"] if match else path.stem)


def _on_one_line(text: str) -> str:
    """A name from a file without line ends and control characters, and of limited length."""
    clean = "".join(char if char.isprintable() else " " for char in text[: 2 * _MAX_NAME_LENGTH])
    return " ".join(clean.split())[:_MAX_NAME_LENGTH]


def _text(header: Header, key: str) -> str | None:
    value = header.metadata.get(key)
    return _on_one_line(value) or None if isinstance(value, str) else None


def _number(header: Header, key: str) -> int | None:
    value = header.metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _check_ranges(header: Header, architecture: str, path: Path) -> None:
    for name, (least, most) in _RANGES.items():
        value = header.metadata.get(f"{architecture}.{name}")
        # An array has a number for each layer.
        if isinstance(value, int | float) and not least <= value <= most:
            raise NotAGGUF(f"{to_printable(path.name)} is damaged: {name} is {value}.", DOWNLOAD_AGAIN)


def _has_chat_template(header: Header) -> bool:
    template = header.metadata.get("tokenizer.chat_template")
    return isinstance(template, str) and bool(template.strip())


def _sampling(header: Header) -> Sampling:
    """The sampling defaults in the file, without impossible values."""
    values: dict[str, object] = {}
    for option in (option for option in SAMPLING_OPTIONS if option.gguf_key):
        value = header.metadata.get(f"general.sampling.{option.gguf_key}")
        # As in llama.cpp, a text may have the number, and floats of 32 bits have six decimals.
        text = f"{value:f}" if isinstance(value, float) else str(value)
        with suppress(BadOption, ValueError):
            values[option.name] = option.to_number(option.type(text))
    return Sampling.from_options(values)


def _quantization(header: Header, tensors: Sequence[Tensor]) -> str | None:
    file_type = _number(header, "general.file_type")
    if file_type is not None and file_type & ~_FILE_TYPE_GUESSED in _FILE_TYPES:
        return _FILE_TYPES[file_type & ~_FILE_TYPE_GUESSED]
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.size_bytes is not None:
            sizes[GGML_TYPES[tensor.type][0]] += tensor.size_bytes
    return max(sizes, key=sizes.__getitem__, default=None)


def _kind(header: Header, architecture: str, tensors: Sequence[Tensor]) -> Kind:
    declared = _text(header, "general.type")
    if declared == "adapter":
        return "adapter"
    if declared == "mmproj" or architecture == "clip":
        return "projector"
    if not tensors:
        return "vocabulary"
    pools = _number(header, f"{architecture}.pooling_type")  # 0 is no pooling
    if pools or "bert" in architecture or architecture in _EMBEDDING_ARCHITECTURES:
        return "embedding"
    return "chat" if _has_chat_template(header) else "base"
