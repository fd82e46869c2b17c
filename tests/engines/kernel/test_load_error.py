import subprocess
import sys
from pathlib import Path

import pytest

from localllm_magics.core.errors import LoadFailed, LocalLLMError, NotEnoughMemory, UnsupportedArchitecture
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import Library, Logged
from localllm_magics.engines.kernel.llama_model import LlamaModel
from localllm_magics.engines.kernel.load_error import context_error, inner_reason, load_error
from localllm_magics.engines.sparse_gguf import write_sparse
from tests.engines.kernel.worker.beside_device import ROOT
from tools.sparse_layouts import to_model
from tools.sparse_shapes import SHAPES

PATH = Path("model.gguf")
ON_CPU, ON_GPU = PlanSettings(context=4096), PlanSettings(context=4096, gpu_layers=33)


def logged(*errors: str) -> Logged:
    """A log with lines that are none of errors around ERRORS."""
    found = Logged()
    for line in (
        "llama_model_loader: loaded meta data",
        *errors,
        "llama_model_load_from_file_impl: failed to load model",
    ):
        found.add(f"{line}\n", is_error=line in errors or "failed" in line)
    found.add("...", is_error=False)
    return found


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        pytest.param([], "no reason given", id="nothing"),
        pytest.param(
            [
                "alloc_buffer: allocating 4155.99 MiB on device 0: cudaMalloc failed: out of memory",
                "alloc_tensor_range: failed to allocate CUDA0 buffer of size 4357873664",
                "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
            ],
            "allocating 4155.99 MiB on device 0: cudaMalloc failed: out of memory",
            id="memory of a GPU",
        ),
        pytest.param(
            ["llama_model_load: error loading model: unable to allocate Metal_Mapped buffer"],
            "unable to allocate Metal_Mapped buffer",
            id="a buffer",
        ),
        pytest.param(
            [
                "ggml_vulkan: Device memory allocation of size 4294967296 failed.",
                "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
                "alloc_tensor_range: failed to allocate Vulkan0 buffer of size 4294967296",
            ],
            "Device memory allocation of size 4294967296 failed",
            id="Vulkan",
        ),
        pytest.param(
            ["llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache"],
            "failed to allocate buffer for kv cache",
            id="KV cache",
        ),
        pytest.param(
            [
                "ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1073741824",
                "graph_reserve: failed to allocate compute buffers",
                "llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers",
            ],
            "failed to allocate CUDA0 buffer of size 1073741824",
            id="compute buffer",
        ),
        pytest.param(
            ["llama_model_load: error loading model: missing tensor 'blk.0.attn_q.weight'"],
            "missing tensor 'blk.0.attn_q.weight'",
            id="missing tensor",
        ),
        pytest.param(
            ["llama_model_load: error loading model: check_tensor_dims: tensor 'a' has wrong shape; expected 1, got 2"],
            "tensor 'a' has wrong shape; expected 1, got 2",
            id="wrong shape",
        ),
        pytest.param(
            ["llama_model_load: error loading model: error loading model hyperparameters: key not found in model: x.y"],
            "key not found in model: x.y",
            id="missing key",
        ),
        pytest.param(
            ["llama_model_load: error loading model: error loading model vocabulary: unknown tokenizer: 'x'"],
            "unknown tokenizer: 'x'",
            id="tokenizer",
        ),
        pytest.param(
            [
                "gguf_init_from_reader: failed to read tensor data",
                "gguf_init_from_reader: tensor 'a' has offset 7, expected 0",
            ],
            "tensor 'a' has offset 7, expected 0",
            id="first nothing, then something",
        ),
        pytest.param(["f: " + "_" * 500_000], "_" * 200, id="as long as a text of the file"),
        pytest.param(["f: a\x07b" + "x" * 500], "ab" + "x" * 198, id="long, and not printable"),
    ],
)
def test_the_innermost_error_is_the_reason(errors: list[str], reason: str) -> None:
    assert inner_reason(logged(*errors)) == reason


@pytest.mark.parametrize(
    ("error", "settings", "kind", "hint"),
    [
        pytest.param("f: cudaMalloc failed: out of memory", ON_GPU, NotEnoughMemory, "fewer --gpu-layers", id="GPU"),
        pytest.param("f: insufficient memory (attempted)", ON_CPU, NotEnoughMemory, "smaller model", id="CPU"),
        pytest.param("f: mmap failed: Cannot allocate memory", ON_CPU, NotEnoughMemory, "smaller model", id="mapped"),
        pytest.param("f: unknown pre-tokenizer type: 'x'", ON_CPU, LoadFailed, "pip install --upgrade", id="newer"),
        pytest.param("f: missing tensor 'x'", ON_CPU, LoadFailed, "another file", id="broken"),
        pytest.param("f: unknown model architecture: 'x'", ON_CPU, UnsupportedArchitecture, "--upgrade", id="unknown"),
    ],
)
def test_a_model_that_cannot_be_loaded_has_its_kind_of_error(
    error: str, settings: PlanSettings, kind: type[LocalLLMError], hint: str
) -> None:
    found = load_error(PATH, settings, logged(error))

    assert type(found) is kind
    assert "model.gguf" in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        pytest.param(
            "f: failed to initialize the context: failed to allocate buffer for kv cache",
            NotEnoughMemory,
            "A context of 4,096 tokens could not be allocated: failed to allocate buffer for kv cache.",
            "Try --ctx 2048.",
            id="memory",
        ),
        pytest.param(
            "f: K cache type q8_0 with block size 32 does not divide n_embd_head_k=80",
            LoadFailed,
            "This model cannot have a KV cache of q8_0: K cache type q8_0 with block size 32 does not divide",
            "Try --kv-type f16.",
            id="blocks",
        ),
        pytest.param(
            "f: failed to initialize the context: quantized V cache was requested, but this requires Flash Attention",
            LoadFailed,
            "This model cannot have a KV cache of q8_0: quantized V cache was requested, but this requires Flash",
            "Try --kv-type f16.",
            id="no flash attention",
        ),
    ],
)
def test_a_context_that_cannot_be_made_has_its_kind_of_error(
    error: str, kind: type[LocalLLMError], message: str, hint: str
) -> None:
    found = context_error(PlanSettings(context=4096, kv_type="q8_0"), logged(error))

    assert type(found) is kind
    assert found.message.startswith(message)
    assert found.hint == hint


SHORT_OF_MEMORY = """
import resource
import sys
from pathlib import Path

from localllm_magics.core.errors import NotEnoughMemory
from localllm_magics.core.memory_plan import PlanSettings
from localllm_magics.core.stop import Stop
from localllm_magics.core.stop import Stop
from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.llama_model import LlamaModel

lib = library()
with open("/proc/self/statm") as statm:
    limit = int(statm.read().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    LlamaModel(lib, Path(sys.argv[1]), PlanSettings(context=512), stop=Stop())
except NotEnoughMemory as error:
    print(error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory cannot be limited")
def test_weights_that_cannot_be_allocated_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_sparse(to_model(SHAPES["llama-8b"]), path)

    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert result.stdout.startswith(
        "llama.cpp has no memory for model.gguf: insufficient memory (attempted to allocate"
    )


def test_a_file_without_data_is_read_for_a_plan(lib: Library, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_sparse(to_model(SHAPES["mixtral-8x7b"]), path)

    model = LlamaModel(lib, path, ON_CPU, stop=Stop(), allocate=False)

    assert (model.layers, model.experts) == (32, 8)
    model.close()
