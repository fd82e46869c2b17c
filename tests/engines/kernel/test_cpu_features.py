import pytest

from localllm_magics.engines.kernel.cpu_features import cpu_features


@pytest.mark.parametrize(
    ("compiled_in", "cpu", "words", "unused"),
    [
        pytest.param("AVX = 1 | AVX2 = 1 | AVX512 = 1", "avx2 avx512f", "AVX-512, no AMX", "", id="all there is"),
        pytest.param("AVX2 = 1", "avx2 avx512f amx_int8", "AVX2, no AVX-512, no AMX", "AVX-512 and AMX", id="any"),
        pytest.param("SSE3 = 1", "sse", "no AVX2, no AVX-512, no AMX", "", id="an old CPU"),
        pytest.param("AVX2 = 1 | AVX512 = 1 | AMX_INT8 = 1", "amx_int8", "AMX", "", id="AMX"),
        pytest.param("NEON = 1 | DOTPROD = 1", "asimd sve", "dot products, no SVE", "SVE", id="ARM"),
    ],
)
def test_features_are_words(compiled_in: str, cpu: str, words: str, unused: str) -> None:
    assert cpu_features(f"CPU : {compiled_in} | ", f"flags : {cpu}") == (words, unused)
