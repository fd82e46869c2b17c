import datetime as dt
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from localllm_magics.notebook.prompt.describe import describe


class GeoDataFrame(pd.DataFrame):
    pass


def lines(*parts: str) -> str:
    return "\n".join(parts)


CITIES = pd.DataFrame({"city": ["Rome", "Oslo", "Lima"], "people": [2_800_000, 700_000, 10_000_000]})
CITIES_AS_TEXT = lines(
    "DataFrame, 3 rows × 2 columns, shape (3, 2):",
    "",
    "| city | people |",
    "| --- | --- |",
    "| Rome | 2800000 |",
    "| Oslo | 700000 |",
    "| Lima | 10000000 |",
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a {{ b }}", "a {{ b }}", id="text"),
        pytest.param(None, "None", id="none"),
        pytest.param([1, {"a": 2}], "[1, {'a': 2}]", id="list"),
        pytest.param(np.float64(1.5), "1.5", id="numpy-scalar"),
        pytest.param(pd.Index([1, 2]), "Index([1, 2], dtype='int64')", id="index"),
    ],
)
def test_most_values_are_their_str(value: object, expected: str) -> None:
    assert describe(value) == expected


def test_a_data_frame_is_a_table() -> None:
    assert describe(CITIES) == CITIES_AS_TEXT


def test_a_subclass_of_data_frame_is_a_table() -> None:
    assert describe(GeoDataFrame(CITIES)) == CITIES_AS_TEXT


@pytest.mark.parametrize(
    ("frame", "table"),
    [
        pytest.param(pd.DataFrame({"a": [1]}, index=["x"]), ["|  | a |", "| --- | --- |", "| x | 1 |"], id="unnamed"),
        pytest.param(
            CITIES[CITIES.people > 2_000_000],
            ["|  | city | people |", "| --- | --- | --- |", "| 0 | Rome | 2800000 |", "| 2 | Lima | 10000000 |"],
            id="filtered",
        ),
        pytest.param(
            CITIES.set_index("city").head(1), ["| city | people |", "| --- | --- |", "| Rome | 2800000 |"], id="named"
        ),
        pytest.param(
            pd.DataFrame({"a": [1]}, index=pd.RangeIndex(1, name="n")),
            ["| n | a |", "| --- | --- |", "| 0 | 1 |"],
            id="named-range",
        ),
        pytest.param(
            pd.DataFrame({"a": [1]}, index=pd.RangeIndex(5, 6)), ["|  | a |", "| --- | --- |", "| 5 | 1 |"], id="offset"
        ),
        pytest.param(
            pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)], names=["k", None])),
            ["| k |  | a |", "| --- | --- | --- |", "| x | 1 | 1 |"],
            id="rows-in-levels",
        ),
        pytest.param(
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "min"), ("a", "max")])),
            ["| a / min | a / max |", "| --- | --- |", "| 1 | 2 |"],
            id="columns-in-levels",
        ),
        pytest.param(
            pd.DataFrame([[1, "x"]], columns=["a", "a"]), ["| a | a |", "| --- | --- |", "| 1 | x |"], id="same-names"
        ),
        pytest.param(pd.DataFrame({"a": []}), ["| a |", "| --- |"], id="no-rows"),
    ],
)
def test_index_and_columns_of_every_kind_are_shown(frame: pd.DataFrame, table: list[str]) -> None:
    assert describe(frame).split("\n")[2:] == table


def test_a_frame_without_columns_is_only_its_shape() -> None:
    assert describe(pd.DataFrame()) == "DataFrame, 0 rows × 0 columns, shape (0, 0)"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        pytest.param("a|b\nc\rd", r"a\|b\nc\rd", id="pipes-and-line-ends"),
        pytest.param("x" * 100, "x" * 79 + "…", id="long"),
        pytest.param(float("nan"), "NaN", id="nan"),
        pytest.param(float("-inf"), "-inf", id="infinity"),
        pytest.param(None, "None", id="none"),
        pytest.param(True, "True", id="bool"),
        pytest.param(1 / 3, "0.333333", id="fraction"),
        pytest.param(2_800_000.0, "2800000", id="whole-float"),
        pytest.param(1e-9, "1e-09", id="small"),
        pytest.param(1.5e300, "1.5e+300", id="large"),
        pytest.param(np.float32(0.1), "0.1", id="numpy-float"),
        pytest.param(12_345_678_901, "12345678901", id="int"),
        pytest.param(dt.date(2026, 1, 31), "2026-01-31", id="date"),
        pytest.param((1, 2), "(1, 2)", id="tuple"),
    ],
)
def test_cells_are_short_and_stay_in_their_row(cell: object, text: str) -> None:
    frame = pd.DataFrame({"a": pd.Series([cell], dtype=object)})

    assert describe(frame).split("\n")[-1] == f"| {text} |"


@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        pytest.param((1_000, 35), "(first 20 of 1,000 rows; 20 of 35 columns)", id="both"),
        pytest.param((21, 20), "(first 20 of 21 rows)", id="rows"),
        pytest.param((20, 21), "(first 20 of 21 columns)", id="columns"),
    ],
)
def test_a_large_frame_is_cut_and_says_so(shape: tuple[int, int], cut: str) -> None:
    title, _, header, _, *rows, blank, last = describe(pd.DataFrame(np.zeros(shape))).split("\n")

    assert title.endswith(f"shape {shape}:")
    assert header.count("|") == 21
    assert (len(rows), blank, last) == (20, "", cut)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param(
            CITIES.people.astype("int64").head(1),
            ['Series "people", 1 row, shape (1,), dtype int64:', "", "| people |", "| --- |", "| 2800000 |"],
            id="named",
        ),
        pytest.param(
            pd.Series([0.5], index=["x"]),
            ["Series, 1 row, shape (1,), dtype float64:", "", "|  | value |", "| --- | --- |", "| x | 0.5 |"],
            id="unnamed",
        ),
        pytest.param(
            pd.Series([1], name=("a", "b"), dtype="int64"),
            ['Series "a / b", 1 row, shape (1,), dtype int64:', "", "| a / b |", "| --- |", "| 1 |"],
            id="named-in-levels",
        ),
    ],
)
def test_a_series_is_a_table(series: "pd.Series[int]", expected: list[str]) -> None:
    assert describe(series) == lines(*expected)


def test_a_long_series_is_cut_and_says_so() -> None:
    assert describe(pd.Series(range(1_000))).endswith("| 19 |\n\n(first 20 of 1,000 rows)")


def test_polars_is_shown_like_pandas() -> None:
    pl = pytest.importorskip("polars")
    series = pl.Series("people", [2_800_000, None])

    assert describe(pl.DataFrame(CITIES.to_dict("list"))) == CITIES_AS_TEXT
    assert describe(pl.DataFrame({str(n): [0] * 30 for n in range(30)})).endswith(
        "(first 20 of 30 rows; 20 of 30 columns)"
    )
    assert describe(series).split("\n")[0] == 'Series "people", 2 rows, shape (2,), dtype Int64:'
    assert describe(series).split("\n")[2:] == ["| people |", "| --- |", "| 2800000 |", "| None |"]
    assert len(describe(pl.Series([None], dtype=pl.Enum([str(n) for n in range(1_000)])))) < 200
    assert describe(pl.Series([1])).startswith("Series, 1 row, shape (1,), dtype Int64:\n\n| value |")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(np.eye(2), ["array, shape (2, 2), dtype float64:", "[[1. 0.]", " [0. 1.]]"], id="matrix"),
        pytest.param(np.array(3, dtype="int32"), ["array, shape (), dtype int32:", "3"], id="scalar"),
        pytest.param(
            np.arange(1_000.0),
            ["array, shape (1000,), dtype float64:", "[  0.   1.   2. ... 997. 998. 999.]"],
            id="long",
        ),
    ],
)
def test_an_array_is_its_shape_and_a_preview(array: object, expected: list[str]) -> None:
    assert describe(array) == lines(*expected)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.zeros((9,) * 6), id="many-dimensions"),
        pytest.param(np.array(["x" * 10_000] * 5), id="long-text"),
        pytest.param(np.zeros(1, dtype=[(f"f{number}", "f8") for number in range(1_000)]), id="many-fields"),
    ],
)
def test_the_preview_of_any_array_is_bounded(array: object) -> None:
    assert len(describe(array)) < 2_200


def test_no_data_library_is_imported() -> None:
    code = "import sys; from localllm_magics.notebook.prompt.describe import describe; describe(1); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "pandas", "polars"} & set(modules)
