import os
import shutil
import struct
from pathlib import Path

import pytest

from localllm_magics.catalog.inspect import describe_file
from localllm_magics.core.errors import LoadFailed, UnsupportedArchitecture
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.model_info import ModelInfo
from localllm_magics.core.request import LoadOptions
from localllm_magics.core.stop import Stop, Stopped
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.loaded_model import LoadedModel
from tests.engines.kernel.random_model import Metadata, write_random_model


def load(lib: Library, path: Path) -> LoadedModel:
    info = describe_file(path, reference="random", source="folder")
    return LoadedModel(lib, info, LoadOptions(ctx=256, threads=1), repack=False, progress=lambda _: None, stop=Stop())


def test_a_load_reports_its_progress(lib: Library, random_model: Path) -> None:
    parts: list[float] = []

    LlamaModel(lib, random_model, PlanSettings(context=512), progress=parts.append, stop=Stop()).close()

    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert len(parts) > 2


def test_a_load_can_be_stopped_half_way(lib: Library, random_model: Path) -> None:
    stop, parts = Stop(), list[float]()

    def progress(part: float) -> None:
        parts.append(part)
        if part > 0.3:
            stop.set()

    with pytest.raises(Stopped):
        LlamaModel(lib, random_model, PlanSettings(context=512), progress=progress, stop=stop)

    assert parts[-1] < 1


def test_closing_again_is_no_error(lib: Library, demo: ModelInfo) -> None:
    assert demo.path is not None
    model = LlamaModel(lib, demo.path, PlanSettings(context=512), stop=Stop())

    model.close()
    model.close()

    assert model.pointer is None


def test_it_knows_the_model(loaded: LoadedModel, demo: ModelInfo) -> None:
    model = loaded.model

    assert (model.layers, model.trained_context) == (demo.layers, demo.context)
    assert model.metadata("general.architecture") == "llama"
    assert model.metadata("general.nonsense") is None
    assert model.chat_template
    assert model.can_generate
    assert model.keeps_all_positions
    assert model.kv_bytes_per_token > 0


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_file_name_may_be_any_bytes(lib: Library, demo: ModelInfo, tmp_path: Path) -> None:
    assert demo.path is not None
    path = tmp_path / os.fsdecode(b"caf\xe9 \xf0\x9f\xa6\x99.gguf")
    shutil.copy(demo.path, path)

    model = LlamaModel(lib, path, PlanSettings(context=512), stop=Stop())

    assert model.layers == demo.layers
    model.close()


def test_an_unknown_architecture_is_named(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "random.gguf", architecture="zebra")

    with pytest.raises(UnsupportedArchitecture) as caught:
        load(lib, path)

    assert "'zebra' of random.gguf" in caught.value.message
    assert "pip install --upgrade" in caught.value.hint


def test_a_file_without_words_is_refused(lib: Library, loaded: LoadedModel, tmp_path: Path) -> None:
    words = loaded.tokenizer.size
    metadata: Metadata = {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": words}
    path = write_random_model(tmp_path / "random.gguf", metadata)

    with pytest.raises(LoadFailed, match="cannot write text"):
        load(lib, path)


def test_an_embedding_model_is_refused(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "random.gguf", {"llama.attention.causal": False})

    with pytest.raises(LoadFailed, match="cannot write text"):
        load(lib, path)


def test_a_file_that_does_not_fit_its_own_header_is_refused(lib: Library, tmp_path: Path) -> None:
    metadata: Metadata = {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": 999_999}
    path = write_random_model(tmp_path / "random.gguf", metadata)

    with pytest.raises(LoadFailed, match=r"llama\.cpp refused random\.gguf: "):
        load(lib, path)


def refusal(lib: Library, demo: ModelInfo, folder: Path, old: bytes, new: bytes) -> LoadFailed:
    """Why the bundled model is refused with NEW bytes in the place of OLD ones."""
    assert demo.path is not None
    path = folder / "changed.gguf"
    path.write_bytes(demo.path.read_bytes().replace(old, new, 1))
    with pytest.raises(LoadFailed) as caught:
        LlamaModel(lib, path, PlanSettings(context=512), stop=Stop())
    return caught.value


def with_type(number: int) -> bytes:
    """A tensor's entry with another type: its name, two sizes, the type."""
    return b"blk.0.attn_q.weight" + struct.pack("<IQQI", 2, 192, 192, number)


Q8_0 = with_type(8)


@pytest.mark.parametrize(
    ("change", "reason", "hint"),
    [
        pytest.param((Q8_0, with_type(200)), "has invalid ggml type 200", "pip install --upgrade", id="newer type"),
        pytest.param((Q8_0, with_type(4)), "of type 4 (DEPRECATED)", "another file", id="old type"),
        pytest.param(
            (b"blk.0.attn_k.weight", b"blk.0.attn_q.weight"), "duplicate tensor name 'blk.0", "another file", id="twice"
        ),
        pytest.param(
            (b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight"),
            "tensor 'blk.1.ffn_up.weight' not found",
            "another file",
            id="missing",
        ),
        pytest.param((b"smollm", b"sm\x07\x1bl9"), "unknown pre-tokenizer type: 'sml9'", "--upgrade", id="tokenizer"),
    ],
)
def test_a_refused_file_says_why(
    lib: Library, demo: ModelInfo, tmp_path: Path, change: tuple[bytes, bytes], reason: str, hint: str
) -> None:
    refused = refusal(lib, demo, tmp_path, *change)

    assert refused.message.startswith("llama.cpp refused changed.gguf: ")
    assert reason in refused.message
    assert hint in refused.hint


def test_what_a_file_says_of_itself_is_cut_short(lib: Library, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "random.gguf", {"tokenizer.ggml.pre": "x" * 5000})

    with pytest.raises(LoadFailed) as caught:
        load(lib, path)

    assert len(caught.value.message) < 300


def test_a_file_that_is_gone_has_no_reason(lib: Library, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"llama\.cpp refused gone\.gguf: "):
        LlamaModel(lib, tmp_path / "gone.gguf", PlanSettings(context=512), stop=Stop())
