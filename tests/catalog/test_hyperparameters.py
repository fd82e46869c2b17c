import pytest

from localllm_magics.catalog.gguf import ArrayInfo, Value
from localllm_magics.catalog.hyperparameters import Hyperparameters


def keys(**values: Value) -> Hyperparameters:
    metadata = {f"llama.{name}": value for name, value in values.items()}
    return Hyperparameters.from_metadata({"general.architecture": "llama", "llama.block_count": 2, **metadata})


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="no architecture"),
        pytest.param({"general.architecture": 3}, id="an architecture that is a number"),
        pytest.param({"general.architecture": "llama"}, id="no layers"),
        pytest.param({"general.architecture": "llama", "llama.block_count": 0}, id="0 layers"),
        pytest.param({"general.architecture": "llama", "llama.block_count": 513}, id="too many layers"),
        pytest.param({"general.architecture": "llama", "llama.block_count": -1}, id="less than no layers"),
        pytest.param({"general.architecture": "llama", "llama.block_count": 2.0}, id="layers with decimals"),
    ],
)
def test_what_is_no_architecture_is_refused(metadata: dict[str, Value]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for nobody
        Hyperparameters.from_metadata(metadata)


@pytest.mark.parametrize(
    ("value", "number", "each"),
    [
        pytest.param(7, 7, (7, 7), id="one for all"),
        pytest.param((3, 5), 5, (3, 5), id="one for each"),
        pytest.param((3, 5, 9), 9, (3, 5), id="more than layers"),
        pytest.param((True, False), 1, (1, 0), id="whether"),
    ],
)
def test_a_number_is_for_all_layers_or_for_each(value: Value, number: int, each: tuple[int, ...]) -> None:
    assert keys(size=value).number("size") == number
    assert keys(size=value).each_layer("size") == each


def test_a_number_that_is_missing_has_a_default() -> None:
    assert keys().number("size", 4) == 4
    assert keys().each_layer("size", 4) == (4, 4)
    assert keys(size=()).number("size", 4) == 4


def test_a_key_is_in_the_file_or_not() -> None:
    assert keys(size=0).has("size")
    assert not keys().has("size")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("7", id="a text"),
        pytest.param(-1, id="negative"),
        pytest.param(1 << 25, id="too large"),
        pytest.param(2**63, id="far too large"),
        pytest.param((1,), id="fewer than layers"),
        pytest.param((1, -1), id="one is negative"),
        pytest.param(ArrayInfo(type=4, length=1000), id="a long list"),
    ],
)
def test_an_absurd_number_is_refused(value: Value) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for nobody
        keys(size=value).each_layer("size")
