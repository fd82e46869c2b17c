import pytest

from localllm_magics.catalog.gguf import Value
from localllm_magics.catalog.hyperparameters import Hyperparameters
from localllm_magics.catalog.sliding_window import sliding_windows

WINDOW, PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"


def windows(architecture: str, layers: int, **values: Value) -> str:
    """A letter for each layer: `w` has a window, `.` sees the whole context."""
    names = {"window": WINDOW, "pattern": PATTERN}
    metadata = {f"{architecture}.{names[name]}": value for name, value in values.items()}
    keys = Hyperparameters(architecture=architecture, metadata=metadata, layers=layers)
    return "".join("w" if window else "." for window in sliding_windows(keys))


@pytest.mark.parametrize(
    ("architecture", "layers", "values", "expected"),
    [
        pytest.param("llama", 4, {"window": 4096}, "....", id="an architecture without windows"),
        pytest.param("gemma2", 4, {}, "w.w.", id="every second"),
        pytest.param("gemma3", 7, {"window": 512}, "wwwww.w", id="five of six"),
        pytest.param("gemma3", 7, {}, ".......", id="no window named"),
        pytest.param("gpt-oss", 4, {"window": 128}, "w.w.", id="gpt-oss"),
        pytest.param("gpt-oss", 4, {"window": 128, "pattern": 4}, "www.", id="a period in the file"),
        pytest.param(
            "gemma4", 4, {"window": 512, "pattern": (True, True, False, True)}, "ww.w", id="a list in the file"
        ),
        pytest.param("cohere2moe", 5, {"window": 512}, ".www.", id="the first of a period sees all"),
        pytest.param("lfm2", 3, {"window": 512}, "www", id="all"),
        pytest.param("exaone4", 4, {"window": 512}, "....", id="another size of the model"),
        pytest.param("exaone4", 64, {}, "www." * 16, id="that size of the model"),
        pytest.param("llama4", 4, {"window": 0}, "....", id="no window"),
        pytest.param("phi3", 4, {"window": 2048}, "....", id="windows that llama.cpp leaves out"),
    ],
)
def test_layers_have_windows_as_in_llama_cpp(
    architecture: str, layers: int, values: dict[str, Value], expected: str
) -> None:
    assert windows(architecture, layers, **values) == expected


def test_a_window_is_as_large_as_the_file_says_or_as_the_architecture_fixes() -> None:
    def largest(architecture: str, window: int) -> int:
        keys = Hyperparameters(architecture=architecture, metadata={f"{architecture}.{WINDOW}": window}, layers=4)
        return max(sliding_windows(keys))

    assert largest("gemma2", 512) == 512
    assert largest("llama4", 512) == 8192
