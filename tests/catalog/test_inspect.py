import math
import struct
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from localllm_magics.catalog.inspect import describe_file, first_part, inspect_file, is_first_present_part
from localllm_magics.core.errors import LoadFailed, LocalLLMError, NotAGGUF, TruncatedFile
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.sampling import Sampling
from tests.catalog.gguf_files import DEMO, TEMPLATE, raw_gguf, raw_key, raw_string, raw_tensor, write_gguf

Metadata = Mapping[str, str | int | float | bool | Sequence[int]]


def inspect(path: Path) -> ModelInfo:
    return inspect_file(path, reference="x", source="folder")


def described(folder: Path, metadata: Metadata, architecture: str = "llama") -> ModelInfo:
    return inspect(write_gguf(folder / "file.gguf", architecture=architecture, metadata=metadata))


def write_parts(folder: Path) -> list[Path]:
    """A model in three parts, the first of which has no tensors."""
    weights = np.zeros((4, 32), np.float32)
    names = [folder / f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    write_gguf(names[0], metadata={"tokenizer.chat_template": TEMPLATE, "llama.block_count": 2}, weights={})
    write_gguf(names[1], weights={"blk.0.attn_q.weight": weights})
    write_gguf(names[2], weights={"blk.1.attn_q.weight": weights})
    return names


def test_the_demo_is_described() -> None:
    info = inspect_file(DEMO, reference="demo", source="bundled")

    assert (info.reference, info.source, info.path) == ("demo", "bundled", DEMO)
    assert info.architecture == "llama"
    assert info.quantization == "Q8_0"
    assert info.size_bytes == DEMO.stat().st_size
    assert info.has_chat_template is True
    assert info.kind == "chat"
    assert info.problem is None
    assert (info.parameters or 0) > 1_000_000
    assert (info.context or 0) >= 512
    assert (info.layers or 0) > 1


def test_a_model_is_described_by_its_own_keys(tmp_path: Path) -> None:
    metadata: Metadata = {
        "general.name": "Tiny",
        "qwen2.context_length": 4096,
        "qwen2.block_count": 2,
        "general.file_type": 15,
    }
    info = described(tmp_path, metadata, "qwen2")

    assert info == ModelInfo(
        reference="x",
        name="Tiny",
        source="folder",
        path=tmp_path / "file.gguf",
        size_bytes=(tmp_path / "file.gguf").stat().st_size,
        architecture="qwen2",
        parameters=128,
        quantization="Q4_K_M",
        context=4096,
        layers=2,
        has_chat_template=False,
        kind="base",
    )


@pytest.mark.parametrize("name", ["", " \n\0 ", 7])
def test_a_model_without_a_name_has_that_of_its_file(tmp_path: Path, name: str | int) -> None:
    assert described(tmp_path, {"general.name": name}).name == "file"


def test_a_name_is_one_short_line_of_visible_text(tmp_path: Path) -> None:
    name = described(tmp_path, {"general.name": "A\x1b[31m\r\n  B\u202e" + "x" * 1000}).name

    assert name.startswith("A [31m B x")
    assert len(name) == 100


@pytest.mark.parametrize("value", ["4096", True])
def test_a_context_of_another_type_is_not_known(tmp_path: Path, value: str | bool) -> None:
    assert described(tmp_path, {"llama.context_length": value}).context is None


def test_file_types_have_the_names_of_the_gguf_package(tmp_path: Path) -> None:
    names = {int(kind): kind.name.split("_", 1)[1] for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    names[38] = "MXFP4"

    for number, name in names.items():
        assert described(tmp_path, {"general.file_type": number}).quantization == name


def test_a_guessed_file_type_is_a_file_type(tmp_path: Path) -> None:
    assert described(tmp_path, {"general.file_type": 1024 + 7}).quantization == "Q8_0"


@pytest.mark.parametrize("metadata", [{}, {"general.file_type": 999}, {"general.file_type": "Q8_0"}])
def test_without_a_file_type_most_bytes_decide(tmp_path: Path, metadata: Metadata) -> None:
    weights = {"norm.weight": np.zeros((1, 32), np.float32), "head.weight": np.zeros((99, 32), np.float32)}
    path = write_gguf(
        tmp_path / "x.gguf", metadata=metadata, weights=weights, quantization=gguf.GGMLQuantizationType.Q4_0
    )

    assert inspect(path).quantization == "Q4_0"


def test_unknown_tensor_types_give_no_quantization(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    architecture = raw_key("general.architecture", 8, raw_string("llama"))
    path.write_bytes(raw_gguf([architecture], [raw_tensor("a", [32], kind=999)]))

    assert inspect(path).quantization is None


@pytest.mark.parametrize(
    ("architecture", "metadata", "kind"),
    [
        pytest.param("llama", {"tokenizer.chat_template": TEMPLATE}, "chat", id="chat template"),
        pytest.param("llama", {"tokenizer.chat_template": " "}, "base", id="blank chat template"),
        pytest.param("llama", {"general.type": "model"}, "base", id="no chat template"),
        pytest.param("llama", {"general.type": "adapter"}, "adapter", id="adapter"),
        pytest.param("llama", {"general.type": "mmproj"}, "projector", id="declared projector"),
        pytest.param("clip", {}, "projector", id="clip"),
        pytest.param("nomic-bert-moe", {}, "embedding", id="bert"),
        pytest.param("gemma-embedding", {"tokenizer.chat_template": TEMPLATE}, "embedding", id="embedding"),
        pytest.param("qwen3", {"qwen3.pooling_type": 3}, "embedding", id="pooling"),
        pytest.param("qwen3", {"qwen3.pooling_type": 0}, "base", id="no pooling"),
    ],
)
def test_the_kind_follows_from_the_header(tmp_path: Path, architecture: str, metadata: Metadata, kind: str) -> None:
    assert described(tmp_path, metadata, architecture).kind == kind


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("block_count", 0, id="no blocks"),
        pytest.param("block_count", 513, id="too many blocks"),
        pytest.param("block_count", 2**31, id="far too many blocks"),
        pytest.param("embedding_length", 0, id="no width"),
        pytest.param("expert_count", 2**31, id="too many experts"),
        pytest.param("attention.layer_norm_rms_epsilon", math.nan, id="not a number"),
        pytest.param("attention.layer_norm_rms_epsilon", math.inf, id="infinite"),
        pytest.param("attention.layer_norm_epsilon", -1.0, id="negative"),
    ],
)
def test_a_number_that_cannot_be_right_is_damage(tmp_path: Path, key: str, value: float) -> None:
    path = write_gguf(tmp_path / "x.gguf", metadata={f"llama.{key}": value})

    with pytest.raises(NotAGGUF) as caught:
        describe_file(path, reference="x", source="folder")

    assert caught.value.message == f"x.gguf is damaged: {key} is {value}."


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"mamba.attention.head_count": 0, "mamba.feed_forward_length": 0}, id="no heads"),
        pytest.param({"mamba.block_count": 512, "mamba.embedding_length": 1}, id="at the limits"),
        pytest.param({"mamba.attention.layer_norm_rms_epsilon": 0.0}, id="no epsilon"),
        pytest.param({"mamba.expert_count": [0, 8]}, id="by layer"),
        pytest.param({"mamba.block_count": "many"}, id="another type"),
        pytest.param({"llama.block_count": 0}, id="another architecture"),
    ],
)
def test_unusual_numbers_are_no_damage(tmp_path: Path, metadata: Metadata) -> None:
    assert described(tmp_path, metadata, "mamba").problem is None


def test_a_file_without_tensors_is_a_vocabulary(tmp_path: Path) -> None:
    assert inspect(write_gguf(tmp_path / "x.gguf", weights={})).kind == "vocabulary"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({}, Sampling(), id="none"),
        pytest.param(
            {"temp": 0.6, "top_k": 7, "top_p": 0.9, "min_p": 0.1, "penalty_repeat": 1.1},
            Sampling(temperature=0.6, top_k=7, top_p=0.9, min_p=0.1, repeat_penalty=1.1),
            id="all",
        ),
        pytest.param({"temp": "0.5", "top_k": "7"}, Sampling(temperature=0.5, top_k=7), id="text"),
        pytest.param({"temp": 1, "top_k": 7.0}, Sampling(temperature=1.0), id="other numbers"),
        pytest.param({"temp": math.nan, "top_p": math.inf, "min_p": 0.2}, Sampling(min_p=0.2), id="not a number"),
        pytest.param({"temp": -3.0, "top_p": 1.5, "top_k": 7}, Sampling(top_k=7), id="out of range"),
        pytest.param({"temp": "hot", "top_k": "many", "min_p": "0.2"}, Sampling(min_p=0.2), id="words"),
        pytest.param({"temp": True, "top_p": [1, 2], "min_p": [1] * 100, "top_k": 7}, Sampling(top_k=7), id="types"),
        pytest.param({"": 5, "seed": 5}, Sampling(), id="no such keys"),
    ],
)
def test_sampling_defaults_come_from_the_file(tmp_path: Path, metadata: Metadata, expected: Sampling) -> None:
    info = described(tmp_path, {f"general.sampling.{key}": value for key, value in metadata.items()})

    assert info.defaults.sampling == expected


def test_a_split_model_is_one_model(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    info = inspect(parts[0])

    assert info.name == "big"
    assert info.parameters == 256
    assert info.layers == 2
    assert info.size_bytes == sum(part.stat().st_size for part in parts)
    assert info.kind == "chat"


def test_missing_parts_are_a_problem_in_words(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    parts[1].unlink()
    info = inspect(parts[0])

    assert info.problem == "1 of the 3 parts of the model are missing: big-00002-of-00003.gguf."
    assert info.size_bytes == parts[0].stat().st_size + parts[2].stat().st_size


def test_only_some_of_many_missing_parts_are_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x-00001-of-00009.gguf")

    assert (inspect(path).problem or "").endswith(
        "x-00002-of-00009.gguf, x-00003-of-00009.gguf, x-00004-of-00009.gguf, …."
    )


def test_a_part_that_is_cut_off_is_a_problem(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    parts[2].write_bytes(parts[2].read_bytes()[:-100])

    assert (inspect(parts[0]).problem or "").startswith("big-00003-of-00003.gguf is cut off")


def test_the_first_part_of_a_part_is_found(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)

    assert [first_part(part) for part in parts] == [parts[0]] * 3
    assert [is_first_present_part(part) for part in parts] == [True, False, False]


def test_a_part_whose_first_is_missing_is_listed(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    parts[0].unlink()

    assert [is_first_present_part(part) for part in parts[1:]] == [True, False]


@pytest.mark.parametrize("name", ["x.gguf", "x-00000-of-00003.gguf", "x-00004-of-00003.gguf", "x-1-of-3.gguf"])
def test_a_file_that_is_no_part_is_its_own_first_part(name: str) -> None:
    assert first_part(Path(name)) == Path(name)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", NotAGGUF, id="empty"),
        pytest.param(b"hello", NotAGGUF, id="text"),
        pytest.param(raw_gguf(), LoadFailed, id="no architecture"),
        pytest.param(raw_gguf([raw_key("general.architecture", 4, struct.pack("<I", 1))]), LoadFailed, id="a number"),
        pytest.param(raw_gguf(counts=(0, 3)), TruncatedFile, id="cut in its header"),
        pytest.param(DEMO.read_bytes()[:-1], TruncatedFile, id="cut in its tensors"),
    ],
)
def test_an_unreadable_file_is_described_by_its_problem(
    tmp_path: Path, data: bytes, error: type[LocalLLMError]
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)

    with pytest.raises(error) as caught:
        describe_file(path, reference="x", source="folder")
    assert inspect(path) == ModelInfo(
        reference="x", name="x", source="folder", path=path, size_bytes=len(data), problem=caught.value.message
    )


def test_a_file_that_is_not_there_has_no_size(tmp_path: Path) -> None:
    info = inspect(tmp_path / "x.gguf")

    assert info.size_bytes is None
    assert (info.problem or "").startswith("There is no file")


def test_an_impossible_path_has_a_problem() -> None:
    assert "cannot be read" in (inspect(Path("a\0b.gguf")).problem or "")


def test_models_with_the_same_tensors_have_their_own_shapes(tmp_path: Path) -> None:
    path, heads = tmp_path / "x.gguf", range(1, 80)
    metadata = {
        "llama.embedding_length": 32,
        "llama.block_count": 1,
        "llama.feed_forward_length": 64,
        "llama.context_length": 64,
    }

    found = []
    for number in (*heads, 1):
        write_gguf(path, metadata=metadata | {"llama.attention.head_count": number})
        found.append(describe_file(path, reference="x", source="folder").shape)

    assert [shape.heads for shape in found if shape] == [*heads, 1]


def test_what_is_large_in_a_header_does_not_stay_in_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        for number in range(3):
            path = write_gguf(tmp_path / f"{number}.gguf", metadata={"llama.x": f"{number}" * 10_000_000})
            describe_file(path, reference="x", source="folder")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 10_000_000
