"""The models of the forecast benchmark are those that llama.cpp's quantizer makes."""

from pathlib import Path

import pytest

from localllm_magics.catalog.gguf import read_header, require_complete
from localllm_magics.catalog.shape import read_shape
from tools.bench.forecast_shapes import FORECAST_SHAPES, QUANTIZATIONS, quantized, write


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("name", FORECAST_SHAPES)
def test_every_model_is_a_whole_file_with_a_shape(tmp_path: Path, name: str, quantization: str) -> None:
    path = tmp_path / "model.gguf"

    write(quantized(FORECAST_SHAPES[name], quantization), path)

    header = read_header(path)
    require_complete(header, path)
    assert read_shape([header]) is not None


@pytest.mark.parametrize(
    ("name", "quantization", "types"),
    [
        pytest.param("tinyllama 1.1 B", "Q4_0", {"F32", "Q4_0", "Q6_K"}, id="Q4_0"),
        pytest.param("tinyllama 1.1 B", "Q4_K_M", {"F32", "Q4_K", "Q6_K"}, id="Q4_K_M"),
        pytest.param("qwen2 0.5 B", "Q4_K_M", {"F32", "Q4_K", "Q5_0", "Q6_K", "Q8_0"}, id="rows of no whole blocks"),
        pytest.param("qwen3moe 0.9 B", "Q8_0", {"F16", "F32", "Q8_0"}, id="experts"),
    ],
)
def test_a_quantization_mixes_types(name: str, quantization: str, types: set[str]) -> None:
    model = quantized(FORECAST_SHAPES[name], quantization)

    assert {tensor.type for tensor in model.tensors} == types
