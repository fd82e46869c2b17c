import pytest

from localllm_magics.core.errors import BadOption
from localllm_magics.notebook.quantity import to_bytes, to_seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("", None),
        ("  ", None),
        (1_000_000, 10**6),
        (8_000_000_000, 8 * 10**9),
        ("8000000000", 8 * 10**9),
        ("9000000 B", 9 * 10**6),
        ("1000kb", 10**6),
        ("500 MB", 500 * 10**6),
        ("8 GB", 8 * 10**9),
        ("8g", 8 * 10**9),
        ("7.5GB", 7_500_000_000),
        ("8 GiB", 8 << 30),
        (" 2 tib ", 2 << 40),
    ],
)
def test_a_size_is_read(written: object, size: int | None) -> None:
    assert to_bytes(written) == size


@pytest.mark.parametrize(
    "written",
    [0, -1, 8, "8", "0.9 MB", 8e9, None, True, "0", "-3", "much", "8 XB", "8 GB GB", "GB", "1e9", "\u0663\u0663 x"],
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(BadOption, match="memory_limit cannot be") as caught:
        to_bytes(written)

    assert caught.value.hint.startswith('Write "8 GB"')


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("", None),
        (" ", None),
        (90, 90.0),
        ("90", 90.0),
        ("45 s", 45.0),
        ("30m", 1800.0),
        ("30 min", 1800.0),
        ("1h30m", 5400.0),
        ("1 h 30 m", 5400.0),
        ("1.5h", 5400.0),
        ("2D", 172_800.0),
    ],
)
def test_a_time_is_read(written: object, seconds: float | None) -> None:
    assert to_seconds(written) == seconds


@pytest.mark.parametrize("written", [0, "0", "0m", 1.5, None, True, [], -1, "-1", "soon", "30 x", "h", "1h, 30m"])
def test_what_is_no_time_is_refused(written: object) -> None:
    with pytest.raises(BadOption, match="idle_ttl cannot be") as caught:
        to_seconds(written)

    assert caught.value.hint.startswith('Write "30m"')
